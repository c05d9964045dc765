"""The definitions of ``token_unmerge`` and ``token_sum``, which also serve devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype


def token_unmerge_naive(x: torch.Tensor, token_index: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.token_unmerge`."""
    padded = torch.cat([x, x.new_zeros(x.shape[0], 1, x.shape[2])], dim=1)
    slot = torch.where(token_index < 0, x.shape[1], token_index)
    return padded.gather(1, slot[..., None].expand(-1, -1, x.shape[2]))


def token_sum_naive(x: torch.Tensor, token_index: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """See :func:`dnachunk.ops.token_sum`."""
    slot = torch.where(token_index < 0, num_tokens, token_index)
    sums = x.new_zeros((x.shape[0], num_tokens + 1, x.shape[2]), dtype=accumulator_dtype(x.dtype))
    sums = sums.scatter_add(1, slot[..., None].expand(-1, -1, x.shape[2]), x.to(sums.dtype))
    return sums[:, :num_tokens].to(x.dtype)
