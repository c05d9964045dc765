"""The definition of ``rms_norm``, and the form for devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype, without_autocast


def rms_norm_naive(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float = 1e-6, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """See :func:`dnachunk.ops.rms_norm`."""
    wide = x.to(accumulator_dtype(x.dtype))
    inverse = (wide.square().mean(dim=-1, keepdim=True) + epsilon).rsqrt()
    return (wide * inverse * weight.to(wide.dtype)).to(dtype or x.dtype)


def rms_norm_torch(x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    """The same by PyTorch's own kernel, which is one on CUDA and takes operands of one dtype."""
    if x.dtype != weight.dtype or not x.numel():
        return rms_norm_naive(x, weight, epsilon, dtype)
    with without_autocast(x.device):
        return F.rms_norm(x, weight.shape, weight, epsilon).to(dtype)
