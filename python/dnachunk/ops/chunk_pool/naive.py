"""The definition of ``chunk_pool`` in plain PyTorch, and the form for devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype


def chunk_pool_naive(
    x: torch.Tensor, token_index: torch.Tensor, max_tokens: int, pooling: str = "mean"
) -> torch.Tensor:
    """See :func:`dnachunk.ops.chunk_pool`."""
    counts_in = token_index >= 0
    if pooling == "boundary":
        counts_in = counts_in & (token_index != F.pad(token_index, (1, 0), value=-1)[:, :-1])
    # What does not count goes to one row more, which is cut off.
    slot = torch.where(counts_in, token_index, max_tokens)
    zeros = x.new_zeros((x.shape[0], max_tokens + 1, x.shape[2]), dtype=accumulator_dtype(x.dtype))
    pooled = zeros.scatter_add(1, slot[..., None].expand_as(x), x.to(zeros.dtype))[:, :max_tokens]
    if pooling == "mean":
        ones = torch.ones_like(slot, dtype=zeros.dtype)
        sizes = zeros.new_zeros(zeros.shape[:2]).scatter_add(1, slot, ones)
        pooled = pooled / sizes[:, :max_tokens, None].clamp_min(1)
    return pooled.to(x.dtype)
