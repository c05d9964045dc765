"""Deformable convolution over a sequence: each output chooses where its taps read."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.nn.start import StartsItself
from dnachunk.ops import deformable_conv
from dnachunk.ops._check import check_shape
from dnachunk.ops._lengths import real_positions


@dataclasses.dataclass(frozen=True)
class DeformableConvOutput:
    """What a deformable convolution gives, and where it read.

    Attributes:
        output: ``[B, K, out_channels]``, 0 on padding.
        offset: ``[B, K, kernel_size]`` float32 (float64 for float64): rows that each tap reads away from its
            place, 0 on padding.
        modulation: ``[B, K, kernel_size]`` in [0, 2]: factor of each tap, 0 on padding.
    """

    output: torch.Tensor
    offset: torch.Tensor
    modulation: torch.Tensor

    @property
    def positions(self) -> torch.Tensor:
        """``[B, K, kernel_size]`` rows that each tap reads at, between rows and outside included."""
        _, rows, taps = self.offset.shape
        row, tap = (torch.arange(n, device=self.offset.device) for n in (rows, taps))
        return (row[:, None] + tap - taps // 2) + self.offset


class DeformableConv1d(StartsItself, nn.Module):
    """Modulated deformable convolution (Zhu et al. 2019) over a sequence, as MxDNA assembles its tokens.

    Two convolutions of the same width give each tap its offset and its modulation ``2 σ(·)``. They start at
    zero, and so the module at a plain convolution without bias.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Taps ``f``; tap ``m`` of output ``i`` has its place at row ``i + m − ⌊f/2⌋``.

    Raises:
        ValueError: If ``kernel_size`` is not at least 1.

    Example:
        >>> convolve = DeformableConv1d(8, 16)
        >>> x = torch.randn(2, 40, 8)
        >>> result = convolve(x, torch.tensor([40, 25]))
        >>> result.output.shape, result.offset.shape
        (torch.Size([2, 40, 16]), torch.Size([2, 40, 3]))
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size < 1:
            raise ValueError(f"DeformableConv1d: kernel_size must be at least 1, got {kernel_size}")
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        self.offset_weight = nn.Parameter(torch.empty(kernel_size, in_channels, kernel_size))
        self.offset_bias = nn.Parameter(torch.empty(kernel_size))
        self.modulation_weight = nn.Parameter(torch.empty(kernel_size, in_channels, kernel_size))
        self.modulation_bias = nn.Parameter(torch.empty(kernel_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws ``weight`` as ``nn.Conv1d`` does, and sets the two convolutions to zero."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        zeros = (self.offset_weight, self.offset_bias, self.modulation_weight, self.modulation_bias)
        for parameter in zeros:
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> DeformableConvOutput:
        """Convolves.

        Args:
            x: ``[B, K, in_channels]``.
            lengths: ``[B]`` int64 real rows; default all. Padding reads as zeros, to both convolutions too.

        Returns:
            The output, with the offsets and modulations that made it.

        Raises:
            TypeError: On a wrong dtype.
            ValueError: On a wrong shape, and on the CPU on lengths out of range.
        """
        check_shape("DeformableConv1d", "x", x, ("B", "K", self.weight.shape[1]))
        if lengths is not None:
            check_shape("DeformableConv1d", "lengths", lengths, (x.shape[0],))
            is_real = real_positions(lengths, x.shape[1])[:, :, None]
            x = x.where(is_real, 0)
        with torch.autocast(x.device.type, enabled=False):
            offset, logits = self._convolve(x).chunk(2, dim=-1)
            modulation = 2 * logits.sigmoid()
        if lengths is not None:
            offset, modulation = offset.where(is_real, 0), modulation.where(is_real, 0)
        output = deformable_conv(x, offset, modulation, self.weight, lengths)
        return DeformableConvOutput(output, offset, modulation)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Both convolutions, ``[B, K, 2 kernel_size]``, in float32 at least: offsets are distances."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        weight = torch.cat([self.offset_weight, self.modulation_weight]).to(dtype)
        bias = torch.cat([self.offset_bias, self.modulation_bias]).to(dtype)
        filters, _, taps = weight.shape
        # A product with all taps, then sums of few channels: x is read once and needs no transpose.
        products = F.linear(x.to(dtype), weight.transpose(1, 2).flatten(0, 1)).unflatten(2, (filters, taps))
        products = F.pad(products, (0, 0, 0, 0, taps // 2, taps - 1 - taps // 2))
        return torch.stack([products[:, tap : tap + x.shape[1], :, tap] for tap in range(taps)]).sum(0) + bias
