"""Triton kernels of ``soft_assignment``: a program takes some windows of a sequence, a row each.

The backward keeps the shares of every step in memory and goes through them in reverse.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides

# Positions that a program takes, at least those of a window.
BLOCK = 256

LOWEST = tl.constexpr(-1e6)
MOST = tl.constexpr(0.999)
LEAST = tl.constexpr(1e-30)


@triton.jit
def _candidates_of(positions):
    return tl.where(positions > 1, (positions + 1) // 2, 0)


@triton.jit
def _read(
    scores, lengths, num_merges, s_b, s_n, N, window, shift, ROWS: tl.constexpr, CANDIDATES: tl.constexpr
):  # fmt: skip
    """Positions of candidates, their edges and both scores, the budget of each window, and the steps."""
    b = tl.program_id(1).to(tl.int64)
    length = clamped_length(lengths, b, N)
    origin = tl.where(shift > 0, shift - window, 0)
    left_end = origin + (tl.program_id(0) * ROWS + tl.arange(0, ROWS)) * window
    start = tl.maximum(left_end, 0)
    end = tl.minimum(left_end + window, length)
    i = start[:, None] + 2 * tl.arange(0, CANDIDATES)[None, :]
    # A position alone in its window is no candidate.
    is_candidate = (i < end[:, None]) & (end - start > 1)[:, None]
    has_left = is_candidate & (i > start[:, None])
    has_right = is_candidate & (i + 1 < end[:, None])
    at = scores + b * s_b + i.to(tl.int64) * s_n
    left = tl.load(at - s_n, mask=has_left, other=LOWEST)
    right = tl.load(at, mask=has_right, other=LOWEST)
    first = tl.minimum(shift, length)
    rest = length - first
    total = _candidates_of(first) + rest // window * _candidates_of(window) + _candidates_of(rest % window)
    merges = tl.minimum(tl.maximum(tl.load(num_merges + b), 0), total).to(tl.float32)
    count = tl.sum(is_candidate.to(tl.float32), axis=1)
    whole = tl.maximum(total, 1).to(tl.float32)
    # Until a window of the full length has spent its budget.
    most = _candidates_of(window)
    steps = tl.minimum(tl.ceil(merges * most.to(tl.float32) / whole).to(tl.int32), most)
    stop = tl.minimum(left_end + window, N)
    return i, stop[:, None], is_candidate, has_left, has_right, left, right, merges * count / whole, steps


@triton.jit
def _shares(logits, is_candidate, sharpness):
    highest = tl.max(logits, axis=1)
    shares = tl.where(is_candidate, tl.exp((logits - highest[:, None]) * sharpness), 0.0)
    total = tl.sum(shares, axis=1)
    return shares / tl.where(total > 0.0, total, 1.0)[:, None]


@triton.jit
def _weight(budget, step):
    return tl.minimum(tl.maximum(budget - step, 0.0), 1.0)[:, None]


@triton.jit
def _preferences(left, right, has_left, has_right, sharpness):
    both = has_left & has_right
    difference = tl.where(both, (left - right) * sharpness, 0.0)
    return tl.where(both, tl.sigmoid(difference), 1.0), tl.where(both, tl.sigmoid(-difference), 1.0)


@kernel("N")
def assign_kernel(
    scores, lengths, num_merges, assignment, s_b, s_n, N, window, shift, sharpness,
    ROWS: tl.constexpr, CANDIDATES: tl.constexpr,
):  # fmt: skip
    i, stop, is_candidate, has_left, has_right, left, right, budget, steps = _read(
        scores, lengths, num_merges, s_b, s_n, N, window, shift, ROWS, CANDIDATES
    )
    logits = tl.where(is_candidate, tl.maximum(left, right), LOWEST)
    given = tl.zeros([ROWS, CANDIDATES], tl.float32)
    for step in range(0, steps):
        shares = _shares(logits, is_candidate, sharpness)
        given += _weight(budget, step) * shares
        logits += tl.where(is_candidate, tl.log(tl.maximum(1.0 - shares, LEAST)), 0.0)
    given = tl.minimum(given, MOST)
    to_left, to_right = _preferences(left, right, has_left, has_right, sharpness)
    # The keeper on the right gives nothing, nor does what is no candidate.
    at = assignment + (tl.program_id(1).to(tl.int64) * N + i) * 2
    nothing = tl.zeros([ROWS, CANDIDATES], tl.float32)
    tl.store(at, tl.where(has_left, given * to_left, 0.0), mask=i < stop)
    tl.store(at + 1, tl.where(has_right, given * to_right, 0.0), mask=i < stop)
    tl.store(at + 2, nothing, mask=i + 1 < stop)
    tl.store(at + 3, nothing, mask=i + 1 < stop)


@kernel("N")
def adjoint_kernel(
    grad, scores, lengths, num_merges, kept, grad_scores, s_b, s_n, N, window, shift, sharpness,
    ROWS: tl.constexpr, CANDIDATES: tl.constexpr,
):  # fmt: skip
    i, _, is_candidate, has_left, has_right, left, right, budget, steps = _read(
        scores, lengths, num_merges, s_b, s_n, N, window, shift, ROWS, CANDIDATES
    )
    program = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    lane = tl.arange(0, ROWS)[:, None] * CANDIDATES + tl.arange(0, CANDIDATES)[None, :]
    at = kept + program * (ROWS * CANDIDATES) + lane
    step_size = tl.num_programs(1).to(tl.int64) * tl.num_programs(0) * (ROWS * CANDIDATES)
    logits = tl.where(is_candidate, tl.maximum(left, right), LOWEST)
    given = tl.zeros([ROWS, CANDIDATES], tl.float32)
    for step in range(0, steps):
        shares = _shares(logits, is_candidate, sharpness)
        tl.store(at + step * step_size, shares)
        given += _weight(budget, step) * shares
        logits += tl.where(is_candidate, tl.log(tl.maximum(1.0 - shares, LEAST)), 0.0)
    tl.debug_barrier()

    to_left, to_right = _preferences(left, right, has_left, has_right, sharpness)
    of = grad + (tl.program_id(1).to(tl.int64) * N + i) * 2
    grad_left = tl.load(of, mask=has_left, other=0.0)
    grad_right = tl.load(of + 1, mask=has_right, other=0.0)
    # What is cut off gives no gradient.
    grad_given = tl.where(given > MOST, 0.0, grad_left * to_left + grad_right * to_right)
    better = tl.zeros([ROWS, CANDIDATES], tl.float32)
    for back in range(0, steps):
        step = steps - 1 - back
        shares = tl.load(at + step * step_size)
        rest = 1.0 - shares
        of_logarithm = tl.where(rest > LEAST, better / tl.maximum(rest, LEAST), 0.0)
        grad_share = _weight(budget, step) * grad_given - of_logarithm
        mean = tl.sum(grad_share * shares, axis=1)
        better += shares * (grad_share - mean[:, None]) * sharpness
    both = has_left & has_right
    exchanged = tl.minimum(given, MOST) * (grad_left - grad_right) * to_left * to_right * sharpness
    exchanged = tl.where(both, exchanged, 0.0)
    is_left = tl.where(left == right, 0.5, tl.where(left > right, 1.0, 0.0))
    out = grad_scores + tl.program_id(1).to(tl.int64) * N + i
    tl.store(out - 1, is_left * better + exchanged, mask=has_left)
    tl.store(out, (1.0 - is_left) * better - exchanged, mask=has_right)


def _tiles(scores: torch.Tensor, window: int, shift: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid and the constants."""
    B, N = scores.shape
    candidates = triton.next_power_of_2(triton.cdiv(window, 2))
    rows = max(1, BLOCK // (2 * candidates))
    before = window - shift if shift else 0
    grid = (triton.cdiv(triton.cdiv(before + N, window), rows), B)
    return grid, {"ROWS": rows, "CANDIDATES": candidates, "num_warps": 1 if rows * candidates <= 128 else 4}


def forward(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    temperature: float,
) -> torch.Tensor:
    """``torch.ops.dnachunk.soft_assignment``."""
    lengths, num_merges = dense(lengths, num_merges)
    assignment = scores.new_empty(*scores.shape, 2)
    if scores.numel():
        grid, tiles = _tiles(scores, window, shift)
        assign_kernel[grid](
            *(scores, lengths, num_merges, assignment, *strides(scores, 2), scores.shape[1]),
            *(window, shift, 1.0 / temperature),
            **tiles,
        )
    return assignment


def backward(
    grad: torch.Tensor,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    temperature: float,
) -> torch.Tensor:
    """``torch.ops.dnachunk.soft_assignment_backward``."""
    grad, lengths, num_merges = dense(grad, lengths, num_merges)
    # Of scores that belong to no candidate.
    grad_scores = scores.new_zeros(scores.shape)
    if scores.numel():
        grid, tiles = _tiles(scores, window, shift)
        kept = scores.new_empty(triton.cdiv(window, 2), *grid, tiles["ROWS"], tiles["CANDIDATES"])
        adjoint_kernel[grid](
            *(grad, scores, lengths, num_merges, kept, grad_scores, *strides(scores, 2), scores.shape[1]),
            *(window, shift, 1.0 / temperature),
            **tiles,
        )
    return grad_scores
