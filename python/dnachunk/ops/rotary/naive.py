"""The definition of ``rotary``, which also serves devices without a kernel."""

import torch


def rotary_naive(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.rotary`."""
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    real, imaginary = qkv[:, :, :2].to(cos.dtype).chunk(2, dim=-1)
    turned = torch.cat([real * cos - imaginary * sin, imaginary * cos + real * sin], dim=-1)
    return torch.cat([turned.to(qkv.dtype), qkv[:, :, 2:]], dim=2)
