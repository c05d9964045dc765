"""MxDNA's first half of a tokenizer: score positions, select basic units; and what it is compared with."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.ops import basic_units
from dnachunk.ops._lengths import full_lengths
from dnachunk.random import counter_uniform
from dnachunk.segmentation import Segmentation

UnitBoundaries = Literal["learned", "fixed", "every_base"]
"""Whether units are selected by learned scores, lie on a grid, or one is around every base."""


@dataclasses.dataclass(frozen=True)
class SelectedUnits:
    """The basic units of a batch and the scores that decided them.

    Attributes:
        scores: ``[B, N, E]`` float32 (float64 for float64), 0 outside a sequence's range of bases.
        router_probability: ``[B, N, E]``: the softmax of ``scores``.
        token_index: ``[B, N]`` int64 unit of each base, −1 outside the range.
        num_tokens: ``[B]`` int64 units of each sequence, bases of no unit included.
        token_center: ``[B, N]`` int64 centre of each unit, in order; −1 from ``num_tokens`` on.
        token_expert: ``[B, N]`` int64 expert of each unit, −1 for a base of no unit and from ``num_tokens``
            on.
    """

    scores: torch.Tensor
    router_probability: torch.Tensor
    token_index: torch.Tensor
    num_tokens: torch.Tensor
    token_center: torch.Tensor
    token_expert: torch.Tensor

    @property
    def segmentation(self) -> Segmentation:
        """Which unit each base belongs to."""
        return Segmentation(self.token_index, self.num_tokens)


class _Scoring(nn.Linear):
    """``W x`` without a bias, in the dtype of ``x``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class BasicUnits(nn.Module):
    """Scores every position for every expert and selects basic units (MxDNA Sec. 3.2.1).

    ``S = X W``, in float32 at least whatever autocast says, since scores decide. In training ``X`` is
    multiplied by noise uniform in ``[1 − jitter, 1 + jitter]``.

    Without suppression (``every_base``) each base is the centre of a unit: of its best expert whose unit fits
    between the sequence's ends (the first of equals), or of none where none fits. These units overlap, and
    each has one base of the segmentation.

    Args:
        d_model: Channels.
        kernel_sizes: Bases of each expert's units, each in [1, 64].
        jitter: Half width of the noise.
        every_base: Whether to leave out the non-maximum suppression.

    Raises:
        ValueError: If ``kernel_sizes`` is empty or out of range, or ``jitter`` not in [0, 1).

    Example:
        >>> select = BasicUnits(8)
        >>> units = select(torch.randn(2, 40, 8), torch.tensor([1, 1]), torch.tensor([39, 20]))
        >>> units.scores.shape, units.segmentation.length_histogram().sum() == units.num_tokens.sum()
        (torch.Size([2, 40, 10]), tensor(True))
    """

    def __init__(
        self,
        d_model: int,
        kernel_sizes: Sequence[int] = range(1, 11),
        jitter: float = 0.01,
        every_base: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_sizes = tuple(kernel_sizes)
        if not self.kernel_sizes or not all(1 <= size <= 64 for size in self.kernel_sizes):
            raise ValueError(
                f"BasicUnits: kernel_sizes must be one or more in [1, 64], got {list(self.kernel_sizes)}"
            )
        self.every_base = every_base
        if not 0 <= jitter < 1:
            raise ValueError(f"BasicUnits: jitter must be in [0, 1), got {jitter}")
        self.jitter = jitter
        self.scoring = _Scoring(d_model, len(self.kernel_sizes), bias=False)

    def forward(
        self,
        x: torch.Tensor,
        starts: torch.Tensor | None = None,
        ends: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
    ) -> SelectedUnits:
        """Scores and selects.

        Args:
            x: ``[B, N, d_model]``. Positions outside a sequence's range get no unit and no gradient.
            starts: ``[B]`` int64 first base of each sequence; default 0.
            ends: ``[B]`` int64 one behind its last base; default N.
            noise_seeds: ``[B]`` int64 seed of each sequence's jitter, which is a function of the seed, the
                position and the channel alone; default drawn from torch's global generator.

        Returns:
            The units.

        Raises:
            TypeError: On a wrong dtype.
            ValueError: On a wrong shape, and on the CPU on a range out of bounds.
        """
        batch, length, channels = x.shape
        starts, ends = _range(x, starts, ends)
        dtype = torch.promote_types(x.dtype, torch.float32)
        inputs = x.to(dtype)
        if self.training and self.jitter:
            if noise_seeds is None:
                noise_seeds = torch.randint(2**63 - 1, (batch,), device=x.device)
            uniform = counter_uniform(noise_seeds, length * channels)
            noise = uniform.mul_(2 * self.jitter).add_(1 - self.jitter)
            inputs = inputs * noise.to(dtype).view(x.shape)
        with torch.autocast(x.device.type, enabled=False):
            scores = self.scoring(inputs)
        places = torch.arange(length, device=x.device)
        is_base = (places >= starts[:, None]) & (places < ends[:, None])
        scores = scores.where(is_base[..., None], 0)
        decide = _around_every_base if self.every_base else basic_units
        decision = decide(scores, self.kernel_sizes, starts, ends)
        return SelectedUnits(scores, scores.softmax(dim=-1), *decision)


class GridUnits(nn.Module):
    """Units at fixed places, whatever the sequence: the control for :class:`BasicUnits`. Nothing is learned.

    From a sequence's first base on the experts take turns, in the order of their sizes' list; bases behind
    the last unit that fits are tokens as :func:`~dnachunk.ops.basic_units` makes them of equal scores. The
    experts' shares are equal, which is what balance pulls learned units to. The probability of a unit's
    expert is 1.

    Args:
        kernel_sizes: Bases of each expert's units, each in [1, 64]. Without any, every base is a token of no
            unit.

    Raises:
        ValueError: If one of ``kernel_sizes`` is out of range.

    Example:
        >>> GridUnits([1, 2, 3])(torch.zeros(1, 8, 4)).token_index
        tensor([[0, 1, 1, 2, 2, 2, 3, 4]])
        >>> GridUnits([])(torch.zeros(1, 3, 4)).token_expert
        tensor([[-1, -1, -1]])
    """

    def __init__(self, kernel_sizes: Sequence[int] = range(1, 11)) -> None:
        super().__init__()
        self.kernel_sizes = tuple(kernel_sizes)
        if not all(1 <= size <= 64 for size in self.kernel_sizes):
            raise ValueError(f"GridUnits: kernel_sizes must be in [1, 64], got {list(self.kernel_sizes)}")

    def forward(
        self,
        x: torch.Tensor,
        starts: torch.Tensor | None = None,
        ends: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
    ) -> SelectedUnits:
        """As :meth:`BasicUnits.forward`; of ``x`` only the shape counts, and nothing is drawn."""
        del noise_seeds
        starts, ends = _range(x, starts, ends)
        batch, length, _ = x.shape
        dtype = torch.promote_types(x.dtype, torch.float32)
        if not self.kernel_sizes:
            none = torch.zeros(batch, length, 0, dtype=dtype, device=x.device)
            return SelectedUnits(none, none, *_around_every_base(none, (), starts, ends))
        place = torch.arange(length, device=x.device) - starts[:, None]
        centers, first = [], 0
        for size in self.kernel_sizes:
            centers.append(first + size // 2)
            first += size
        wanted = torch.stack([place % first == center for center in centers], dim=-1)
        decision = basic_units(wanted.to(dtype), self.kernel_sizes, starts, ends)
        index, count, center, expert = decision
        token = torch.where(index < 0, 0, index)
        experts = torch.arange(len(self.kernel_sizes), device=x.device)
        of_base = expert.gather(1, token).where(index >= 0, -1)
        probability = (of_base[..., None] == experts).to(dtype)
        return SelectedUnits(torch.zeros_like(probability), probability, index, count, center, expert)


def _range(
    x: torch.Tensor, starts: torch.Tensor | None, ends: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first base of each sequence and one behind its last; default all of ``x [B, N, …]``."""
    if starts is None:
        starts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return starts, full_lengths(x) if ends is None else ends


def _around_every_base(
    scores: torch.Tensor, kernel_sizes: Sequence[int], starts: torch.Tensor, ends: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What :func:`~dnachunk.ops.basic_units` gives, without suppression: a unit around every base."""
    place = torch.arange(scores.shape[1], device=scores.device)
    first, end = starts[:, None], ends[:, None]
    token_index = (place - first).where((place >= first) & (place < end), -1)
    token_center = (place + first).where(place < end - first, -1)
    best = torch.full_like(token_center, -1)
    if kernel_sizes:
        fits = torch.stack(
            [(place - size // 2 >= first) & (place + (size + 1) // 2 <= end) for size in kernel_sizes], dim=-1
        )
        # Below all numbers is only what does not fit.
        numbers = scores.detach().nan_to_num(nan=torch.finfo(scores.dtype).min)
        best = numbers.where(fits, -torch.inf).argmax(dim=-1).where(fits.any(dim=-1), -1)
    token_expert = best.gather(1, token_center.clamp_min(0)).where(token_center >= 0, -1)
    return token_index, ends - starts, token_center, token_expert
