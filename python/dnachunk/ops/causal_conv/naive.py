"""The definition of ``causal_conv`` in plain PyTorch, and the form for devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.ops._rows import pad_rows


def causal_conv_naive(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    activation: str | None = None,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.causal_conv`."""
    _, length, channels = x.shape
    dtype = accumulator_dtype(x.dtype)
    if lengths is None:
        lengths = full_lengths(x)
    real = real_positions(lengths, length)[:, :, None]
    width = weight.shape[1]
    # Padding lies on the right, where it counts as the zeros that precede a sequence in reverse.
    around = (0, width - 1) if reverse else (width - 1, 0)
    seen = pad_rows(x.to(dtype).where(real, 0), *around)
    taps = weight.to(dtype).flip(1) if reverse else weight.to(dtype)
    out = torch.zeros(channels, dtype=dtype, device=x.device) if bias is None else bias.to(dtype)
    for tap in range(width):
        out = out + taps[:, tap] * seen[:, tap : tap + length]
    if activation == "silu":
        out = F.silu(out)
    return out.where(real, 0).to(x.dtype)
