"""The definition of ``neighbor_match``, and its vectorised form for devices without a kernel."""

import itertools

import torch
import torch.nn.functional as F

from dnachunk.ops._lengths import real_positions
from dnachunk.ops._windows import candidate_edges

GRID = 4096.0
LOWEST = -8192


def round_scores(scores: torch.Tensor) -> torch.Tensor:
    """Scores in units of the grid, int64; NaN is the lowest."""
    return (scores.double() * GRID).nan_to_num(LOWEST, -LOWEST, LOWEST).round().clamp(LOWEST, -LOWEST).long()


def _midpoint(proposals: list[tuple[int, int, bool]], accepted: set[int]) -> float:
    inside = [score for score, candidate, _ in proposals if candidate in accepted]
    outside = [score for score, candidate, _ in proposals if candidate not in accepted]
    if inside and outside:
        return (min(inside) + max(outside)) / (2 * GRID)
    return (min(inside) if inside else max(outside, default=0)) / GRID


def neighbor_match_naive(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    budget: str = "window",
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`dnachunk.ops.neighbor_match`."""
    batch, padded = scores.shape
    token_index = torch.full((batch, padded), -1, dtype=torch.int64)
    threshold = torch.zeros_like(scores, device="cpu")
    rounded = round_scores(scores).tolist()
    for row in range(batch):
        length, merges = int(lengths[row]), int(num_merges[row])
        cuts = sorted({0, *range(shift or window, length, window), length})
        windows = [range(a, b) for a, b in itertools.pairwise(cuts)]
        proposals: list[list[tuple[int, int, bool]]] = []
        for places in windows:
            proposals.append([])
            for candidate in list(places)[::2]:
                left = rounded[row][candidate - 1] if candidate - 1 in places else None
                right = rounded[row][candidate] if candidate + 1 in places else None
                if left is not None and (right is None or left >= right):
                    proposals[-1].append((left, candidate, True))
                elif right is not None:
                    proposals[-1].append((right, candidate, False))
            proposals[-1].sort(key=lambda proposal: (-proposal[0], proposal[1]))
        everyone = sorted((p for group in proposals for p in group), key=lambda p: (-p[0], p[1]))
        share = merges // max(len(windows), 1) if budget == "window" else 0
        accepted = {candidate for group in proposals for _, candidate, _ in group[:share]}
        for _, candidate, _ in everyone:
            if len(accepted) < merges:
                accepted.add(candidate)
        joins_left = {c if is_left else c + 1 for _, c, is_left in everyone if c in accepted}
        token = -1
        for position in range(length):
            token += position not in joins_left
            token_index[row, position] = token
        for places, group in zip(windows, proposals, strict=True):
            scope = group if budget == "window" else everyone
            threshold[row, places.start : places.stop] = _midpoint(scope, accepted)
    return token_index.to(scores.device), threshold.to(scores.device)


def neighbor_match_torch(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    budget: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by sorting, without a loop over positions and without waiting for the device."""
    batch, length = scores.shape
    before = (window - shift) % window
    after = -(before + length) % window

    def in_windows(values: torch.Tensor, fill: int) -> torch.Tensor:
        return F.pad(values, (before, after), value=fill).view(
            batch, (before + length + after) // window, window
        )

    def flat(values: torch.Tensor) -> torch.Tensor:
        return values.flatten(1)[:, before : before + length]

    position = torch.arange(length, device=scores.device)
    is_real = real_positions(lengths, length)
    has_left, has_right = candidate_edges(is_real, window, shift)
    rounded = round_scores(scores)
    nothing = 4 * LOWEST
    left = torch.where(has_left, rounded.roll(1, dims=1), nothing)
    right = torch.where(has_right, rounded, nothing)
    proposes = has_left | has_right
    is_left = left >= right
    score = torch.maximum(left, right)
    last = torch.iinfo(torch.int64).max // 2
    key = torch.where(proposes, (-score - LOWEST) * length + position, last)

    accepted = torch.zeros_like(proposes)
    left_over = num_merges
    if budget == "window":
        num_windows = torch.where(lengths > 0, (lengths - 1 - shift) // window + 1 + int(shift > 0), 0)
        share = num_merges // num_windows.clamp_min(1)
        rank = flat(in_windows(key, last).argsort(dim=-1).argsort(dim=-1))
        accepted = proposes & (rank < share[:, None])
        left_over = num_merges - accepted.sum(dim=1)
    rank = torch.where(accepted, last, key).argsort(dim=-1).argsort(dim=-1)
    accepted = accepted | (proposes & (rank < left_over[:, None]))

    inside = torch.where(accepted, score, -nothing)
    outside = torch.where(proposes & ~accepted, score, nothing)
    if budget == "window":
        inside = in_windows(inside, -nothing).amin(dim=-1, keepdim=True).expand(-1, -1, window)
        outside = in_windows(outside, nothing).amax(dim=-1, keepdim=True).expand(-1, -1, window)
        inside, outside = flat(inside), flat(outside)
    elif length:
        inside, outside = inside.amin(dim=1, keepdim=True), outside.amax(dim=1, keepdim=True)
    has_inside, has_outside = inside != -nothing, outside != nothing
    twice = torch.where(has_inside, inside, outside) + torch.where(has_outside, outside, inside)
    threshold = torch.where(is_real & (has_inside | has_outside), twice / (2 * GRID), 0.0).to(scores.dtype)

    joins_left = (accepted & is_left) | (accepted & ~is_left).roll(1, dims=1)
    token_index = (~joins_left).long().cumsum(dim=1) - 1
    return torch.where(is_real, token_index, -1), threshold
