"""MxDNA's mixture of convolution experts, computed where their units are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.nn.basic_units import SelectedUnits
from dnachunk.nn.start import StartsItself
from dnachunk.ops import token_unmerge, unit_gather, unit_scatter
from dnachunk.ops._backend import reads_values


def closest_divisor(number: int, target: int) -> int:
    """The divisor of ``number`` that is closest to ``target``, the smaller of two as close.

    Example:
        >>> [closest_divisor(512, size) for size in (1, 3, 5, 6, 7, 10)]
        [1, 2, 4, 4, 8, 8]
    """
    divisors = (divisor for divisor in range(1, number + 1) if number % divisor == 0)
    return min(divisors, key=lambda divisor: (abs(divisor - target), divisor))


class UnitConvolution(StartsItself, nn.Module):
    """Grouped convolution of units to one vector each, with the weight of an ``nn.Conv1d``; no bias.

    It has as many groups as the divisor of d closest to the length.

    Args:
        d_model: Channels ``d`` in and out.
        kernel_size: Bases of a unit.
    """

    def __init__(self, d_model: int, kernel_size: int) -> None:
        super().__init__()
        self.groups = closest_divisor(d_model, kernel_size)
        self.weight = nn.Parameter(torch.empty(d_model, d_model // self.groups, kernel_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weight as ``nn.Conv1d`` does."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The bases of units, ``[M · kernel_size, d_model]``, to ``[M, d_model]``."""
        # A unit gives one output, so the convolution is a matrix product for each group.
        bases = x.unflatten(0, (-1, self.weight.shape[2])).unflatten(2, (self.groups, -1))
        weight = self.weight.unflatten(0, (self.groups, -1))
        columns = bases.permute(2, 0, 1, 3).flatten(2)
        units = torch.bmm(columns, weight.permute(0, 3, 2, 1).flatten(1, 2))
        return units.transpose(0, 1).flatten(1)


class ConvolutionExpert(nn.Module):
    """Embeds units of one length.

    Pointwise to 2d → GLU → grouped convolution over the unit → LayerNorm → SiLU → pointwise to d; no biases
    outside LayerNorm.

    Args:
        d_model: Channels ``d`` in and out.
        kernel_size: Bases of a unit.
        eps: ε of the LayerNorm.
    """

    def __init__(self, d_model: int, kernel_size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_model, bias=False)
        self.convolution = UnitConvolution(d_model, kernel_size)
        self.norm = nn.LayerNorm(d_model, eps=eps)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The bases of units, ``[M · kernel_size, d_model]``, to the units, ``[M, d_model]``."""
        return self.out(F.silu(self.norm(self.convolution(F.glu(self.up(x))))))


class ConvolutionExperts(nn.Module):
    """Embeds every basic unit with the expert of its length (MxDNA Sec. 3.2.1).

    On the CPU each expert sees the bases of its own units only, so that the cost is linear in bases whatever
    the number of experts (unless units overlap). On other devices, which the host would wait for to know how
    many these are, and under ``torch.compile``, each has room for as many units as the sequences can hold of
    its length, and what is left over is computed in vain. An expert without units takes part with none: its
    parameters get zero gradients.

    Args:
        d_model: Channels.
        kernel_sizes: Bases of each expert's units.
        eps: ε of the experts' LayerNorms.
        every_base: Whether units overlap, one around every base: there is room for so many of each expert.

    Raises:
        ValueError: If ``kernel_sizes`` is empty or has one below 1.

    Example:
        >>> from dnachunk.nn import BasicUnits
        >>> select, embed = BasicUnits(8, [1, 4]), ConvolutionExperts(8, [1, 4])
        >>> x = torch.randn(2, 40, 8)
        >>> embed(x, select(x)).shape
        torch.Size([2, 40, 8])
    """

    def __init__(
        self,
        d_model: int,
        kernel_sizes: Sequence[int] = range(1, 11),
        eps: float = 1e-5,
        every_base: bool = False,
    ) -> None:
        super().__init__()
        self.every_base = every_base
        self.kernel_sizes = tuple(kernel_sizes)
        if not self.kernel_sizes or min(self.kernel_sizes) < 1:
            raise ValueError(
                f"ConvolutionExperts: kernel_sizes must be one or more of at least 1, "
                f"got {list(self.kernel_sizes)}"
            )
        self.experts = nn.ModuleList(ConvolutionExpert(d_model, size, eps) for size in self.kernel_sizes)

    def forward(
        self, x: torch.Tensor, units: SelectedUnits, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embeds units and adds them, weighted by their expert's probability, at their centres.

        Args:
            x: ``[B, N, d_model]`` what the experts see.
            units: Of :class:`BasicUnits` with the same kernel sizes.
            residual: ``[B, N, d_model]`` what is added to; default ``x``.

        Returns:
            ``[B, N, d_model]`` in the dtype of ``residual``, which it equals but at the centres of units.

        Raises:
            ValueError: If the number of experts is another than that of the scores.
        """
        num_experts = units.scores.shape[2]
        if num_experts != len(self.experts):
            raise ValueError(
                f"ConvolutionExperts: units must be of {len(self.experts)} experts, got {num_experts}"
            )
        residual = x if residual is None else residual
        batch, length, _ = x.shape
        experts = torch.arange(num_experts, device=x.device)
        # Units by their expert, in order; those of none come last.
        of_unit = units.token_expert.flatten()
        order = torch.where(of_unit < 0, num_experts, of_unit).argsort(stable=True)
        counts = (of_unit == experts[:, None]).sum(dim=1)
        is_exact = reads_values(counts)
        most = [batch * self._most_units(size, length) for size in self.kernel_sizes]
        rooms = counts.tolist() if is_exact else most
        room, sizes = _numbers(rooms, x.device), _numbers(self.kernel_sizes, x.device)
        expert = experts.repeat_interleave(room, output_size=sum(rooms))
        # Of each unit, its place among those of its expert.
        place = torch.arange(sum(rooms), device=x.device) - (room.cumsum(0) - room)[expert]
        size, is_unit = sizes[expert], place < counts[expert]
        unit = order[torch.where(is_unit, (counts.cumsum(0) - counts)[expert] + place, 0)]
        rows = torch.arange(batch, device=x.device)[:, None] * length
        # What is no unit takes the first bases there are.
        center = torch.where(is_unit, (units.token_center + rows).flatten()[unit], size // 2)
        # The bases of a unit follow one another, and so do the units of an expert.
        first = center - size // 2 - (size.cumsum(0) - size)
        bases = [count * size for count, size in zip(rooms, self.kernel_sizes, strict=True)]
        position = first.repeat_interleave(size, output_size=sum(bases))
        position = position + torch.arange(sum(bases), device=x.device)
        of_experts = unit_gather(x, position).split(bases)
        values = torch.cat([embed(own) for embed, own in zip(self.experts, of_experts, strict=True)])
        weight = units.router_probability.flatten().gather(0, center * num_experts + expert)
        weight = weight.to(torch.promote_types(residual.dtype, torch.float32))
        if is_exact:
            return unit_scatter(residual, values.to(residual.dtype), weight, center)
        # From the bases' side, as what is no unit has no place; that goes to a column more.
        index = torch.full((1, batch * length + 1), -1, device=x.device)
        index = index.scatter(
            1,
            torch.where(is_unit, center, batch * length)[None],
            torch.arange(sum(rooms), device=x.device)[None],
        )
        added = token_unmerge((weight[:, None] * values)[None], index[:, :-1])
        return (residual + added.view(residual.shape)).to(residual.dtype)

    def _most_units(self, size: int, length: int) -> int:
        """How many units of so many bases a sequence can have."""
        return max(length - size + 1, 0) if self.every_base else length // size


def _numbers(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """``[len(numbers)]`` int64, filled by the device: a copy from the host would wait for it."""
    return torch.stack([torch.full((), number, device=device) for number in numbers])
