"""The definition of ``boundary_routing`` in plain PyTorch, and the form for devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._lengths import real_positions

GRID = 4096.0
EPSILON = 1e-8


def boundary_routing_naive(
    query: torch.Tensor,
    key: torch.Tensor,
    lengths: torch.Tensor,
    is_protected: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dnachunk.ops.boundary_routing`."""
    position = torch.arange(query.shape[1], device=query.device)
    is_real = real_positions(lengths, query.shape[1])
    is_forced = (position == 0).expand_as(is_real)
    if is_protected is not None:
        is_forced = is_forced | is_protected | (is_protected.roll(1, dims=1))
    is_forced = is_forced & is_real

    # Replaced before they meet, so that what no probability reads reaches no gradient either, NaN included.
    is_free = (is_real & ~is_forced)[..., None]
    dtype = accumulator_dtype(query.dtype)
    query = torch.where(is_free, query.to(dtype), 1.0)
    before = torch.where(is_free, key.to(dtype).roll(1, dims=1), 1.0)
    query_norm, key_norm = query.norm(dim=-1), before.norm(dim=-1)
    is_zero = (query_norm <= EPSILON) | (key_norm <= EPSILON)
    norms = torch.where(is_zero, 1.0, query_norm * key_norm)
    cosine = torch.where(is_zero, 1.0, (query * before).sum(dim=-1) / norms).clamp(-1, 1)

    probability = torch.where(is_forced, 1.0, torch.where(is_real, (1 - cosine) / 2, 0.0))
    is_boundary = is_forced | (is_real & ((cosine.detach() * GRID).round() <= 0))
    token_index = torch.where(is_real, is_boundary.long().cumsum(dim=1) - 1, -1)
    return probability, is_boundary, is_forced, token_index, is_boundary.sum(dim=1)
