"""The definition of ``rms_norm``, which also serves devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype


def rms_norm_naive(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float = 1e-6, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """See :func:`dnachunk.ops.rms_norm`."""
    wide = x.to(accumulator_dtype(x.dtype))
    inverse = (wide.square().mean(dim=-1, keepdim=True) + epsilon).rsqrt()
    return (wide * inverse * weight.to(wide.dtype)).to(dtype or x.dtype)
