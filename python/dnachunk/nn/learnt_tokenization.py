"""MxDNA's learnt tokenization, whole: units selected, embedded, gathered and assembled into tokens."""

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.nn.basic_units import BasicUnits, GridUnits, SelectedUnits, UnitBoundaries
from dnachunk.nn.convolution_experts import ConvolutionExperts
from dnachunk.nn.deformable import DeformableConv1d
from dnachunk.ops import token_unmerge
from dnachunk.ops._backend import reads_values
from dnachunk.ops._lengths import full_lengths


@dataclasses.dataclass(frozen=True)
class LearntTokens:
    """What a tokenization layer makes of its positions.

    Attributes:
        values: ``[B, K, d_model]``: ``[CLS]``, a token for each unit in order, ``[SEP]``; 0 on padding.
        lengths: ``[B]`` int64 real tokens, ``[CLS]`` and ``[SEP]`` included.
        centers: ``[B, K]`` int64 input position that each token was gathered from: the centre of its unit, or
            its own for ``[CLS]`` and ``[SEP]``; −1 on padding.
        units: The basic units; unit ``t`` is token ``t + 1``.
        offset: ``[B, K, f]`` float32 (float64 for float64) tokens that each tap of the assembly reads away
            from its place: tap ``m`` of token ``i`` reads at ``i + m − ⌊f/2⌋ + offset[i, m]``. 0 on padding.
        modulation: ``[B, K, f]`` factor of each tap, in [0, 2]; 0 on padding.

    Without an assembly each token is read at its own place: ``f`` is 1, offsets are 0, factors 1.
    """

    values: torch.Tensor
    lengths: torch.Tensor
    centers: torch.Tensor
    units: SelectedUnits
    offset: torch.Tensor
    modulation: torch.Tensor

    def __getitem__(self, row: int | slice) -> "LearntTokens":
        """The tokens of the sequence of this row, or of those of these rows, as a batch.

        Raises:
            IndexError: If there is no such row.
        """
        if not isinstance(row, slice):
            rows = range(len(self.values))[row]
            row = slice(rows, rows + 1)
        units = dataclasses.replace(
            self.units,
            **{field.name: getattr(self.units, field.name)[row] for field in dataclasses.fields(self.units)},
        )
        own = ("values", "lengths", "centers", "offset", "modulation")
        return LearntTokens(units=units, **{name: getattr(self, name)[row] for name in own})

    @property
    def is_padding(self) -> torch.Tensor:
        """``[B, K]`` bool, True where there is no token, as ``src_key_padding_mask`` wants it."""
        return self.centers < 0

    @property
    def receptive_positions(self) -> torch.Tensor:
        """``[B, K, f]`` input positions that each tap of the assembly reads at, NaN outside the tokens.

        Float32 (float64 for float64): between the centres of two tokens where a tap reads between them.
        """
        _, count, taps = self.offset.shape
        row, tap = (torch.arange(n, device=self.offset.device) for n in (count, taps))
        place = (row[:, None] + tap - taps // 2) + self.offset
        last = (self.lengths - 1)[:, None, None]
        below = place.floor().clamp_min(0).minimum(last)
        low, high = (
            self.centers.gather(1, index.long().flatten(1)).view(place.shape).to(place.dtype)
            for index in (below, (below + 1).minimum(last))
        )
        position = low + (place - below) * (high - low)
        is_read = (place >= 0) & (place <= last) & ~self.is_padding[..., None]
        return position.where(is_read, torch.nan)


# So that a module which gives them can be exported.
for _value in (SelectedUnits, LearntTokens):
    torch.export.register_dataclass(_value, serialized_type_name=f"dnachunk.nn.{_value.__name__}")


class LearntTokenization(nn.Module):
    """Cuts a sequence into tokens as MxDNA does (Sec. 3.2).

    After a LayerNorm, scores select basic units, convolution experts embed them, and what they give is added
    to the residual at the units' centres. The centres are gathered and, after another LayerNorm that
    ``[CLS]``, ``[SEP]`` and padding leave as zeros, assembled by a deformable convolution, whose result is
    added to them.

    Its ablations are arguments. The paper's adds parts to a model of single nucleotides one after the other:
    the convolution experts (selection included), the assembly, the jitter. So ``deformable_kernel_size=0``
    and ``jitter=0`` take the last two away again, and ``boundaries="every_base"`` with ``kernel_sizes=()``
    all: the centres gathered are all positions, as they are. Two more are no rows of the paper's [ours]:
    experts without the selection (``"every_base"`` with experts: convolutions at every base, and no
    compression), and units on a grid (``"fixed"``).

    Args:
        d_model: Channels.
        kernel_sizes: Bases of each expert's units, each in [1, 64]; with ``"every_base"`` there may be none.
        jitter: Half width of the noise on what is scored, in training.
        deformable_kernel_size: Taps ``f`` of the assembly; 0 leaves it out.
        eps: ε of the LayerNorms.
        boundaries: ``"learned"``: units of :class:`BasicUnits`; ``"every_base"``: of these without
            suppression; ``"fixed"``: of :class:`GridUnits`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> tokenize = LearntTokenization(8).eval()
        >>> tokens = tokenize(torch.randn(2, 40, 8), torch.tensor([40, 25]))
        >>> bool((tokens.lengths == tokens.units.num_tokens + 2).all())
        True
    """

    def __init__(
        self,
        d_model: int,
        kernel_sizes: Sequence[int] = range(1, 11),
        jitter: float = 0.01,
        deformable_kernel_size: int = 3,
        eps: float = 1e-5,
        boundaries: UnitBoundaries = "learned",
    ) -> None:
        super().__init__()
        if boundaries not in ("learned", "fixed", "every_base"):
            raise ValueError(
                f"LearntTokenization: boundaries must be 'learned' or 'fixed' or 'every_base', "
                f"got {boundaries!r}"
            )
        every_base = boundaries == "every_base"
        self.has_experts = len(kernel_sizes) > 0 or not every_base
        self.select: BasicUnits | GridUnits
        if self.has_experts:
            self.norm = nn.LayerNorm(d_model, eps=eps)
        if self.has_experts and boundaries != "fixed":
            self.select = BasicUnits(d_model, kernel_sizes, jitter, every_base)
        else:
            self.select = GridUnits(kernel_sizes)
        if self.has_experts:
            self.experts = ConvolutionExperts(d_model, kernel_sizes, eps, every_base)
        self.assembles = deformable_kernel_size != 0
        if self.assembles:
            self.assembly_norm = nn.LayerNorm(d_model, eps=eps)
            self.assemble = DeformableConv1d(d_model, d_model, deformable_kernel_size)

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        noise_seeds: torch.Tensor | None = None,
    ) -> LearntTokens:
        """Tokenizes.

        Args:
            x: ``[B, N, d_model]``; each sequence has ``[CLS]`` first and ``[SEP]`` at its last real position.
            lengths: ``[B]`` int64 real positions, these two included, in [2, N]; default all. Padding has no
                part in any token and gets no gradient.
            noise_seeds: ``[B]`` int64 seeds of the jitter; see :class:`BasicUnits`. With seeds, a region that
                is checkpointed decides alike when it is run again.

        Returns:
            The tokens, with ``K`` the most of a sequence on the CPU. On other devices, which the host would
            wait for to know it, and under ``torch.compile``, ``K`` is ``N``.

        Raises:
            TypeError: On a wrong dtype.
            ValueError: On a wrong shape, and on the CPU on lengths out of range.
        """
        batch, length, _ = x.shape
        if lengths is None:
            lengths = full_lengths(x)
        if reads_values(lengths):
            outside = (lengths < 2) | (lengths > length)
            if outside.any():
                raise ValueError(
                    f"LearntTokenization: lengths must be in [2, {length}], got {lengths[outside][0].item()}"
                )
        normed = self.norm(x) if self.has_experts else x
        units = self.select(normed, torch.ones_like(lengths), lengths - 1, noise_seeds)
        embedded = self.experts(normed, units, residual=x) if self.has_experts else x
        num_tokens = units.num_tokens
        # As many as there can be, where the host would wait for the device to know how many there are.
        most = max(length - 2, 0)
        if reads_values(num_tokens):
            most = int(num_tokens.max()) if batch else 0
        centers = F.pad(units.token_center[:, :most], (1, 1), value=-1)
        centers = centers.scatter(1, num_tokens[:, None] + 1, lengths[:, None] - 1)
        centers[:, 0] = 0
        gathered = token_unmerge(embedded, centers)
        if not self.assembles:
            modulation = (centers >= 0)[..., None].to(torch.promote_types(x.dtype, torch.float32))
            offset = torch.zeros_like(modulation)
            return LearntTokens(gathered, num_tokens + 2, centers, units, offset, modulation)
        place = torch.arange(most + 2, device=x.device)
        is_unit = (place > 0) & (place <= num_tokens[:, None])
        rows = self.assembly_norm(gathered).where(is_unit[..., None], 0)
        assembly = self.assemble(rows, num_tokens + 2)
        values = gathered + assembly.output.to(gathered.dtype)
        return LearntTokens(values, num_tokens + 2, centers, units, assembly.offset, assembly.modulation)
