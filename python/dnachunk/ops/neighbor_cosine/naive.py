"""The definition of ``neighbor_cosine`` in plain PyTorch, and the form for devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype

EPSILON = 1e-8


def neighbor_cosine_naive(grouping: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.neighbor_cosine`."""
    grouping = grouping.to(accumulator_dtype(grouping.dtype))
    unit = grouping / grouping.norm(dim=-1, keepdim=True).clamp_min(EPSILON)
    return F.pad((unit[:, :-1] * unit[:, 1:]).sum(dim=-1), (0, 1))[:, : grouping.shape[1]]
