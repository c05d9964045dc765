"""The definition of ``window_center``, and its vectorised form for devices without a kernel."""

import itertools

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._lengths import real_positions
from dnachunk.ops._windows import from_windows, in_windows

EPSILON = 1e-6


def window_center_naive(
    x: torch.Tensor, lengths: torch.Tensor, window: int = 16, shift: int = 0
) -> torch.Tensor:
    """See :func:`dnachunk.ops.window_center`."""
    wide = x.detach().to(accumulator_dtype(x.dtype))
    centered = torch.zeros_like(wide)
    for row, length in enumerate(lengths.tolist()):
        cuts = sorted({0, *range(shift or window, length, window), length})
        for start, end in itertools.pairwise(cuts):
            values = wide[row, start:end]
            unit = values / (values.square().mean(dim=1, keepdim=True) + EPSILON).sqrt()
            centered[row, start:end] = unit - unit.mean(dim=0)
    return centered


def window_center_torch(x: torch.Tensor, lengths: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """The same without a loop over windows."""
    wide = x.detach().to(accumulator_dtype(x.dtype))
    is_real = real_positions(lengths, x.shape[1])[..., None]
    unit = F.rms_norm(wide, (x.shape[2],), eps=EPSILON).where(is_real, 0)
    rows, real = (in_windows(t, window, shift) for t in (unit, is_real.to(wide.dtype)))
    mean = rows.sum(dim=2, keepdim=True) / real.sum(dim=2, keepdim=True).clamp_min(1)
    return from_windows((rows - mean) * real, x.shape[1], shift)
