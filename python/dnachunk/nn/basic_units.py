"""MxDNA's first half of a tokenizer: score positions, select basic units."""

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.ops import basic_units
from dnachunk.ops._lengths import full_lengths
from dnachunk.random import counter_uniform
from dnachunk.segmentation import Segmentation


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

    Args:
        d_model: Channels.
        kernel_sizes: Bases of each expert's units, each in [1, 64].
        jitter: Half width of the noise.

    Raises:
        ValueError: If ``kernel_sizes`` is empty or out of range, or ``jitter`` not in [0, 1).

    Example:
        >>> select = BasicUnits(8)
        >>> units = select(torch.randn(2, 40, 8), torch.tensor([1, 1]), torch.tensor([39, 20]))
        >>> units.scores.shape, units.segmentation.length_histogram().sum() == units.num_tokens.sum()
        (torch.Size([2, 40, 10]), tensor(True))
    """

    def __init__(
        self, d_model: int, kernel_sizes: Sequence[int] = range(1, 11), jitter: float = 0.01
    ) -> None:
        super().__init__()
        self.kernel_sizes = tuple(kernel_sizes)
        if not self.kernel_sizes or not all(1 <= size <= 64 for size in self.kernel_sizes):
            raise ValueError(
                f"BasicUnits: kernel_sizes must be one or more in [1, 64], got {list(self.kernel_sizes)}"
            )
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
        if starts is None:
            starts = torch.zeros(batch, dtype=torch.int64, device=x.device)
        if ends is None:
            ends = full_lengths(x)
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
        decision = basic_units(scores, self.kernel_sizes, starts, ends)
        return SelectedUnits(scores, scores.softmax(dim=-1), *decision)
