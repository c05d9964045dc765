"""Triton kernels of ``global_match``: tiles of candidates meet all keepers, and the matrix is never held.

Candidates are the even places and keepers the odd ones. A candidate's rank is counted against all others, so
nothing is sorted.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides, with_dense_rows
from dnachunk.ops.global_match.naive import EPSILON

# Candidates and keepers of a tile, channels at a time, and places of a program that numbers tokens.
TILE, CHANNELS, BLOCK = 32, 32, 1024

# In steps of the grid: a cosine that is not a number, and no keeper at all.
NOT_A_NUMBER, ABSENT = tl.constexpr(-2 * 4096.0), tl.constexpr(-3 * 4096.0)


@kernel("L")
def unit_kernel(metric, lengths, unit, m_b, m_l, L, C, EPSILON, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Rows of length 1 in float32, 0 behind a sequence's end."""
    b = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_real = row < clamped_length(lengths, b, L)
    squares = tl.zeros([ROWS], tl.float32)
    at = metric + b * m_b + row.to(tl.int64)[:, None] * m_l
    for first in range(0, C, CHANNELS):
        columns = first + tl.arange(0, CHANNELS)
        mask = is_real[:, None] & (columns < C)[None, :]
        x = tl.load(at + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += tl.sum(x * x, axis=1)
    norm = tl.sqrt_rn(squares)
    # Written so that what is not a number stays so.
    norm = tl.where(norm < EPSILON, EPSILON, norm)
    for first in range(0, C, CHANNELS):
        columns = first + tl.arange(0, CHANNELS)
        mask = is_real[:, None] & (columns < C)[None, :]
        x = tl.load(at + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        out = unit + (b * L + row)[:, None] * C + columns[None, :]
        tl.store(
            out,
            tl.div_rn(x, norm[:, None] + tl.zeros_like(x)),
            mask=(row < L)[:, None] & (columns < C)[None, :],
        )


@kernel("L")
def propose_kernel(unit, lengths, scores, keepers, L, C, TILE: tl.constexpr, CHANNELS: tl.constexpr):
    """Each candidate's best keeper, the first of several, and its cosine in steps of the grid."""
    b = tl.program_id(1).to(tl.int64)
    length = clamped_length(lengths, b, L)
    candidates = (L + 1) // 2
    candidate = tl.program_id(0) * TILE + tl.arange(0, TILE)
    rows = unit + (b * L + 2 * candidate.to(tl.int64))[:, None] * C
    is_candidate = 2 * candidate < length
    best = tl.full([TILE], ABSENT, tl.float32)
    which = tl.zeros([TILE], tl.int32)
    for first in range(0, length // 2, TILE):
        keeper = first + tl.arange(0, TILE)
        is_keeper = 2 * keeper + 1 < length
        others = unit + (b * L + 2 * keeper.to(tl.int64) + 1)[None, :] * C
        cosines = tl.zeros([TILE, TILE], tl.float32)
        for start in range(0, C, CHANNELS):
            columns = start + tl.arange(0, CHANNELS)
            inside = columns < C
            x = tl.load(rows + columns[None, :], mask=is_candidate[:, None] & inside[None, :], other=0.0)
            y = tl.load(others + columns[:, None], mask=is_keeper[None, :] & inside[:, None], other=0.0)
            cosines += tl.dot(x, y, input_precision="ieee")
        steps = cosines * 4096.0
        # Half to even: adding 1.5 · 2²³ leaves no room for a fraction.
        steps = tl.where(steps == steps, (steps + 12582912.0) - 12582912.0, NOT_A_NUMBER)
        steps = tl.where(is_keeper[None, :], steps, ABSENT)
        top = tl.max(steps, axis=1)
        place = tl.min(tl.where(steps == top[:, None], keeper[None, :], L), axis=1)
        is_better = top > best
        best, which = tl.where(is_better, top, best), tl.where(is_better, place, which)
    # Without a keeper in the sequence there is no proposal.
    tl.store(
        scores + b * candidates + candidate, tl.where(is_candidate, best, ABSENT), mask=candidate < candidates
    )
    tl.store(keepers + b * candidates + candidate, which, mask=candidate < candidates)


@kernel("L")
def accept_kernel(scores, num_merges, keepers, L, TILE: tl.constexpr):
    """Marks candidates that are not accepted by a keeper of -1."""
    b = tl.program_id(1).to(tl.int64)
    candidates = (L + 1) // 2
    candidate = tl.program_id(0) * TILE + tl.arange(0, TILE)
    mine = tl.load(scores + b * candidates + candidate, mask=candidate < candidates, other=ABSENT)
    rank = tl.zeros([TILE], tl.int32)
    for first in range(0, candidates, TILE):
        other = first + tl.arange(0, TILE)
        theirs = tl.load(scores + b * candidates + other, mask=other < candidates, other=ABSENT)[None, :]
        is_ahead = (theirs > mine[:, None]) | (
            (theirs == mine[:, None]) & (other[None, :] < candidate[:, None])
        )
        rank += tl.sum(is_ahead.to(tl.int32), axis=1)
    merges = tl.minimum(tl.maximum(tl.load(num_merges + b), 0), candidates).to(tl.int32)
    is_accepted = (mine > ABSENT) & (rank < merges)
    none = tl.full([TILE], -1, tl.int32)
    tl.store(keepers + b * candidates + candidate, none, mask=(candidate < candidates) & ~is_accepted)


@kernel("L")
def number_kernel(keepers, lengths, token_index, L, BLOCK: tl.constexpr):
    """Numbers a sequence's survivors, then gives each absorbed token its keeper's number."""
    b = tl.program_id(0).to(tl.int64)
    length = clamped_length(lengths, b, L)
    keepers += b * ((L + 1) // 2)
    token_index += b * L
    tokens = 0
    for first in range(0, L, BLOCK):
        place = first + tl.arange(0, BLOCK)
        is_even = (place < length) & (place % 2 == 0)
        keeper = tl.load(keepers + place // 2, mask=is_even, other=-1)
        survives = ((place < length) & (keeper < 0)).to(tl.int32)
        number = tokens + tl.cumsum(survives, axis=0) - 1
        tokens += tl.sum(survives, axis=0)
        tl.store(token_index + place, tl.where(place < length, number, -1).to(tl.int64), mask=place < L)
    tl.debug_barrier()
    for first in range(0, length, BLOCK):
        place = first + tl.arange(0, BLOCK)
        is_even = (place < length) & (place % 2 == 0)
        keeper = tl.load(keepers + place // 2, mask=is_even, other=-1)
        is_absorbed = keeper >= 0
        # A keeper's place is odd: nobody writes it in this pass.
        number = tl.load(token_index + 2 * keeper + 1, mask=is_absorbed, other=0)
        tl.store(token_index + place, number, mask=is_absorbed)


def forward(metric: torch.Tensor, lengths: torch.Tensor, num_merges: torch.Tensor) -> torch.Tensor:
    """``torch.ops.dnachunk.global_match``."""
    (metric,), (lengths, num_merges) = with_dense_rows(metric), dense(lengths, num_merges)
    B, L, C = metric.shape
    token_index = metric.new_empty(B, L, dtype=torch.int64)
    if B * L:
        candidates = triton.cdiv(L, 2)
        unit = metric.new_empty(B, L, C, dtype=torch.float32)
        scores = unit.new_empty(B, candidates)
        keepers = unit.new_empty(B, candidates, dtype=torch.int32)
        tiles = (triton.cdiv(candidates, TILE), B)
        unit_kernel[(triton.cdiv(L, TILE), B)](
            metric, lengths, unit, *strides(metric, 2), L, C, EPSILON, ROWS=TILE, CHANNELS=CHANNELS
        )
        propose_kernel[tiles](unit, lengths, scores, keepers, L, C, TILE=TILE, CHANNELS=CHANNELS, num_warps=8)
        accept_kernel[tiles](scores, num_merges, keepers, L, TILE=TILE)
        number_kernel[(B,)](keepers, lengths, token_index, L, BLOCK=BLOCK)
    return token_index
