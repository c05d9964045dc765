"""The definition of ``global_match`` in plain PyTorch, and the form for devices without a kernel."""

import torch

from dnachunk.ops._check import accumulator_dtype, without_autocast
from dnachunk.ops._lengths import real_positions

EPSILON = 1e-8
GRID = 4096.0

# Similarities that the form for other devices holds at once.
_TILE_ELEMENTS = 1 << 22


def _unit(metric: torch.Tensor) -> torch.Tensor:
    metric = metric.detach().to(accumulator_dtype(metric.dtype))
    return metric / metric.norm(dim=-1, keepdim=True).clamp_min(EPSILON)


def _snap(cosines: torch.Tensor) -> torch.Tensor:
    """Turns cosines into steps of the grid, in place; one that is not a number is below every other."""
    return cosines.mul_(GRID).round_().nan_to_num_(nan=-2 * GRID)


def global_match_naive(metric: torch.Tensor, lengths: torch.Tensor, num_merges: torch.Tensor) -> torch.Tensor:
    """See :func:`dnachunk.ops.global_match`."""
    token_index = torch.full(metric.shape[:2], -1, device=metric.device)
    for b, (length, merges) in enumerate(zip(lengths.tolist(), num_merges.tolist(), strict=True)):
        absorbed_by: dict[int, int] = {}
        if merges:
            unit = _unit(metric[b, :length])
            scores, keepers = _snap(unit[0::2] @ unit[1::2].T).max(dim=1)
            accepted = scores.argsort(descending=True, stable=True)[:merges]
            absorbed_by = {
                2 * c: 2 * k + 1 for c, k in zip(accepted.tolist(), keepers[accepted].tolist(), strict=True)
            }
        survivors = [i for i in range(length) if i not in absorbed_by]
        number = {position: token for token, position in enumerate(survivors)}
        tokens = [number[absorbed_by.get(i, i)] for i in range(length)]
        token_index[b, :length] = torch.tensor(tokens, dtype=torch.int64)
    return token_index


def global_match_torch(metric: torch.Tensor, lengths: torch.Tensor, num_merges: torch.Tensor) -> torch.Tensor:
    """The same for any device, by tiles of candidates, without waiting for the device.

    Lengths and budgets are not read by the host, hence not checked: a length above ``L`` counts as ``L``, a
    budget above the number of candidates as that number.
    """
    batch, length, _ = metric.shape
    if length < 2:
        nothing = torch.zeros(metric.shape[:2], dtype=torch.int64, device=metric.device)
        return nothing.masked_fill_(lengths[:, None] < 1, -1)
    places = torch.arange(length, device=metric.device)
    with without_autocast(metric.device):
        unit = _unit(metric)
        candidate_units, keeper_units = unit[:, 0::2], unit[:, 1::2].transpose(1, 2)
        is_absent = (places[1::2] >= lengths[:, None])[:, None]
        scores = unit.new_empty(candidate_units.shape[:2])
        keepers = torch.empty_like(scores, dtype=torch.int64)
        rows = max(1, _TILE_ELEMENTS // max(1, batch * keeper_units.shape[2]))
        for first in range(0, scores.shape[1], rows):
            tile = slice(first, first + rows)
            tile_scores = _snap(candidate_units[:, tile] @ keeper_units).masked_fill_(is_absent, -3 * GRID)
            scores[:, tile], keepers[:, tile] = tile_scores.max(dim=2)
    # A candidate proposes if it is inside the sequence and so is a keeper, the first at place 1.
    proposes = (places[0::2] < lengths[:, None]) & (lengths[:, None] >= 2)
    order = scores.masked_fill(~proposes, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, places[: order.shape[1]].expand_as(order))
    is_accepted = proposes & (rank < num_merges[:, None])
    survives = torch.ones(batch, length, dtype=torch.bool, device=metric.device)
    survives[:, 0::2] = ~is_accepted
    token_index = survives.cumsum(dim=1) - 1
    token_index[:, 0::2] = torch.where(
        is_accepted, token_index.gather(1, 2 * keepers + 1), token_index[:, 0::2]
    )
    return token_index.masked_fill_(~real_positions(lengths, length), -1)
