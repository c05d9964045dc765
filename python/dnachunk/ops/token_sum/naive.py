"""The definition of ``token_sum``, which also serves devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype


def token_sum_naive(x: torch.Tensor, token_index: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """See :func:`dnachunk.ops.token_sum`."""
    slot = torch.where(token_index < 0, num_tokens, token_index)
    sums = x.new_zeros((x.shape[0], num_tokens + 1, x.shape[2]), dtype=accumulator_dtype(x.dtype))
    sums = sums.scatter_add(1, slot[..., None].expand(-1, -1, x.shape[2]), x.to(sums.dtype))
    return sums[:, :num_tokens].to(x.dtype)
