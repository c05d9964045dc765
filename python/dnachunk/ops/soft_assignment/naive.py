"""The definition of ``soft_assignment``, and its vectorised form for devices without a kernel."""

import itertools

import torch
import torch.nn.functional as F

from dnachunk.ops._lengths import real_positions
from dnachunk.ops._windows import candidate_edges, from_windows, in_windows

MOST = 0.999
"""What a candidate can give at most: where it stays, it is to have a mass."""
LEAST = 1e-30
"""Of ``1 − p`` where a candidate has been chosen for certain."""


def soft_assignment_naive(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    temperature: float = 0.1,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.soft_assignment`."""
    batch, padded = scores.shape
    # Differentiable where nothing is given, too.
    zero = scores[:0].sum()
    rows = []
    for row in range(batch):
        length, merges = int(lengths[row]), int(num_merges[row])
        cuts = sorted({0, *range(shift or window, length, window), length})
        windows = [range(a, b) for a, b in itertools.pairwise(cuts) if b - a > 1]
        total = sum(len(places[::2]) for places in windows)
        given: dict[tuple[int, int], torch.Tensor] = {}
        for places in windows:
            candidates = list(places[::2])
            edges = {i: [j for j in (i - 1, i + 1) if j in places] for i in candidates}
            # The score of a position and the next has the number of the first.
            cosines = {i: scores[row, [min(i, j) for j in edges[i]]] for i in candidates}
            logits = torch.stack([cosines[i].amax() for i in candidates])
            share = torch.zeros_like(logits)
            left = merges * len(candidates) / total
            while left > 0:
                p = torch.softmax(logits / temperature, dim=0)
                share = share + min(left, 1) * p
                logits = logits + (1 - p).clamp_min(LEAST).log()
                left -= 1
            for i, part in zip(candidates, share.clamp_max(MOST), strict=True):
                for j, preference in zip(
                    edges[i], torch.softmax(cosines[i] / temperature, dim=0), strict=True
                ):
                    given[i, j] = part * preference
        pairs = [(i, j) for i in range(padded) for j in (i - 1, i + 1)]
        rows += [given.get(pair, zero) for pair in pairs]
    return torch.stack(rows).view(batch, padded, 2) if rows else scores.new_zeros(batch, padded, 2)


def soft_assignment_torch(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    temperature: float,
) -> torch.Tensor:
    """The same without a loop over windows."""
    length = scores.shape[1]
    has_left, has_right = candidate_edges(real_positions(lengths, length), window, shift)
    has_edge = torch.stack([has_left, has_right], dim=-1)
    lowest = -1e6
    edges = torch.stack([F.pad(scores, (1, 0))[:, :-1], scores], dim=-1)
    edges = torch.where(has_edge, edges, lowest)

    can_merge = has_left | has_right
    logits, can, share = (
        in_windows(t, window, shift)
        for t in (edges.amax(dim=-1).where(can_merge, 0), can_merge, can_merge.to(scores.dtype))
    )
    candidates = share.sum(dim=2)
    total = candidates.sum(dim=1, keepdim=True).clamp_min(1)
    budget = num_merges[:, None] * candidates / total
    logits = torch.where(can, logits, lowest)
    given = torch.zeros_like(logits)
    for step in range((window + 1) // 2):
        p = torch.softmax(logits / temperature, dim=-1).where(can, 0)
        given = given + (budget - step).clamp(0, 1)[..., None] * p
        logits = torch.where(can, logits + (1 - p).clamp_min(LEAST).log(), lowest)
    given = from_windows(given.clamp_max(MOST), length, shift)
    return torch.where(has_edge, given[..., None] * torch.softmax(edges / temperature, dim=-1), 0)
