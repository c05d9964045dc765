"""Triton kernel of ``neighbor_match``: one program to a sequence, in one launch and without waiting.

A proposal has a level: how far its score lies below the greatest, in steps of the grid. Its rank in its
window is counted against all others there; what is left of the budget goes to the best of the sequence, up to
a level found by bisection. Barriers divide the passes: a pass reads what an earlier one wrote.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides

# Positions that a program takes at a time.
BLOCK = 1024

LOWEST = tl.constexpr(-8192)
NOTHING = tl.constexpr(-4 * 8192)
# Above every level: of positions that propose nothing.
LAST = tl.constexpr(1 << 30)


@triton.jit
def _rounded(score):
    """Steps of 2⁻¹², half to even: adding 1.5 · 2²³ leaves no room for a fraction."""
    steps = tl.where(score == score, score, -2.0) * 4096.0
    steps = tl.minimum(tl.maximum(steps, -8192.0), 8192.0)
    return ((steps + 12582912.0) - 12582912.0).to(tl.int32)


@triton.jit
def _score(scores, s_n, p, mask):
    """Rounded scores at ``p``, ``NOTHING`` where masked."""
    score = tl.load(scores + p.to(tl.int64) * s_n, mask=mask, other=0.0)
    return tl.where(mask, _rounded(score), NOTHING)


@kernel()
def neighbor_match_kernel(
    scores, lengths, num_merges, token_index, threshold, levels, marks, s_b, s_n, N, window, shift,
    BY_WINDOW: tl.constexpr, ROWS: tl.constexpr, WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    scores += b * s_b
    levels += b * N
    marks += b * N
    token_index += b * N
    threshold += b * N
    length = clamped_length(lengths, b, N)
    budget = tl.minimum(tl.maximum(tl.load(num_merges + b), 0), N).to(tl.int32)
    begin = tl.where(shift > 0, shift - window, 0)
    windows = tl.where(length > 0, (length - 1 - begin) // window + 1, 0)
    row, place, lane = tl.arange(0, ROWS), tl.arange(0, WINDOW), tl.arange(0, BLOCK)

    for first in range(0, windows, ROWS):
        left_end = begin + (first + row) * window
        p = left_end[:, None] + place[None, :]
        inside = (place < window)[None, :] & (p >= 0) & (p < length)
        start = tl.maximum(left_end, 0)[:, None]
        end = tl.minimum(left_end + window, length)[:, None]
        candidate = inside & ((p - start) % 2 == 0)
        left = _score(scores, s_n, p - 1, candidate & (p > start))
        right = _score(scores, s_n, p, candidate & (p + 1 < end))
        best = tl.maximum(left, right)
        tl.store(levels + p, tl.where(best > NOTHING, -best - LOWEST, LAST), mask=inside)
    tl.debug_barrier()

    # The best of each window: their levels become negative marks.
    share = budget // tl.maximum(windows, 1) if BY_WINDOW else 0
    accepted = 0
    for first in range(0, windows, ROWS):
        left_end = begin + (first + row) * window
        p = left_end[:, None] + place[None, :]
        inside = (place < window)[None, :] & (p >= 0) & (p < length)
        level = tl.load(levels + p, mask=inside, other=LAST)
        rank = tl.zeros([ROWS, WINDOW], tl.int32)
        if BY_WINDOW:
            for other in range(window):
                q = left_end + other
                theirs = tl.load(levels + q, mask=(q >= 0) & (q < length), other=LAST)[:, None]
                is_ahead = (theirs < level) | ((theirs == level) & (q[:, None] < p))
                rank += is_ahead.to(tl.int32)
        is_accepted = (level < LAST) & (rank < share)
        tl.store(marks + p, tl.where(is_accepted, -1 - level, level), mask=inside)
        accepted += tl.sum(tl.sum(is_accepted.to(tl.int32), axis=1), axis=0)
    tl.debug_barrier()

    # The least level up to which open proposals fill what is left of the budget, and how many are below it.
    left_over = budget - accepted
    low, high = 0, 16384
    while low < high:
        middle = (low + high) // 2
        count = 0
        for first in range(0, length, BLOCK):
            mark = tl.load(marks + first + lane, mask=first + lane < length, other=LAST)
            count += tl.sum(((mark >= 0) & (mark <= middle)).to(tl.int32), axis=0)
        low, high = tl.where(count >= left_over, low, middle + 1), tl.where(count >= left_over, middle, high)
    below = 0
    for first in range(0, length, BLOCK):
        mark = tl.load(marks + first + lane, mask=first + lane < length, other=LAST)
        below += tl.sum(((mark >= 0) & (mark < low)).to(tl.int32), axis=0)
    # Of proposals at that level the first so many.
    ties = left_over - below

    seen = 0
    worst_inside, best_outside = tl.full([], -1, tl.int32), tl.full([], LAST, tl.int32)
    for first in range(0, length, BLOCK):
        p = first + lane
        inside = p < length
        mark = tl.load(marks + p, mask=inside, other=LAST)
        level = tl.where(mark < 0, -1 - mark, mark)
        is_tie = (mark == low).to(tl.int32)
        nth = seen + tl.cumsum(is_tie, axis=0)
        seen += tl.sum(is_tie, axis=0)
        is_best = (mark >= 0) & (mark < low) | ((is_tie > 0) & (nth <= ties))
        proposes = inside & (level < LAST)
        is_accepted = proposes & ((mark < 0) | (is_best & (nth * 0 + left_over > 0)))
        worst_inside = tl.maximum(worst_inside, tl.max(tl.where(is_accepted, level, -1), axis=0))
        best_outside = tl.minimum(
            best_outside, tl.min(tl.where(proposes & ~is_accepted, level, LAST), axis=0)
        )
        # The left keeper wins if its score is the proposal's: 1 joins it, 2 is joined from the right.
        start = tl.maximum((p - begin) // window * window + begin, 0)
        is_left = _score(scores, s_n, p - 1, proposes & (p > start)) == -level - LOWEST
        tl.store(marks + p, tl.where(is_accepted, tl.where(is_left, 1, 2), 0), mask=inside)
        tl.store(levels + p, tl.where(is_accepted | ~proposes, level, -1 - level), mask=inside)
    tl.debug_barrier()

    tokens = 0
    for first in range(0, N, BLOCK):
        p = first + lane
        inside = p < length
        joins_left = tl.load(marks + p, mask=inside, other=0) == 1
        joins_left = joins_left | (tl.load(marks + p - 1, mask=inside & (p > 0), other=0) == 2)
        begins = (inside & ~joins_left).to(tl.int32)
        number = tokens + tl.cumsum(begins, axis=0) - 1
        tokens += tl.sum(begins, axis=0)
        tl.store(token_index + p, tl.where(inside, number, -1).to(tl.int64), mask=p < N)
        middle_score = tl.where(inside, _middle(worst_inside + p * 0, best_outside + p * 0), 0.0)
        if BY_WINDOW:
            middle_score = tl.zeros([BLOCK], tl.float32)
        tl.store(threshold + p, middle_score, mask=(p < N) & ~inside if BY_WINDOW else p < N)
    if BY_WINDOW:
        for first in range(0, windows, ROWS):
            left_end = begin + (first + row) * window
            p = left_end[:, None] + place[None, :]
            inside = (place < window)[None, :] & (p >= 0) & (p < length)
            level = tl.load(levels + p, mask=inside, other=LAST)
            inner = tl.max(tl.where((level >= 0) & (level < LAST), level, -1), axis=1)
            outer = tl.min(tl.where(level < 0, -1 - level, LAST), axis=1)
            own = _middle(inner, outer)[:, None] + tl.zeros([ROWS, WINDOW], tl.float32)
            tl.store(threshold + p, own, mask=inside)


@triton.jit
def _middle(inner, outer):
    """Between the worst accepted level and the best other, as a score; the one there is, or 0."""
    worst, best = (-inner - LOWEST).to(tl.float32), (-outer - LOWEST).to(tl.float32)
    both = tl.where(outer == LAST, worst, (worst + best) * 0.5)
    return tl.where(inner < 0, tl.where(outer == LAST, 0.0, best), both) * (1.0 / 4096.0)


def forward(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    budget: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.neighbor_match``."""
    lengths, num_merges = dense(lengths, num_merges)
    B, N = scores.shape
    token_index, threshold = scores.new_empty(B, N, dtype=torch.int64), scores.new_empty(B, N)
    if scores.numel():
        levels, marks = scores.new_empty((2, B, N), dtype=torch.int32)
        wide = triton.next_power_of_2(window)
        neighbor_match_kernel[(B,)](
            *(scores, lengths, num_merges, token_index, threshold, levels, marks, *strides(scores, 2)),
            *(N, window, shift),
            BY_WINDOW=budget == "window", ROWS=max(1, BLOCK // wide), WINDOW=wide, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    return token_index, threshold
