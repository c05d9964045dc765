"""Triton kernel of ``basic_units``: all rounds of a sequence in one launch, without waiting.

A round takes every candidate that outranks all others within reach. Between its passes, which barriers
divide, lie ``best``, the key of a position's best expert that still fits, ``expert``, which it is,
``covered``, whether a base is taken, and ``owner``, the expert of the unit that begins at a base.
"""

import functools

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import dense, kernel, strides

# Positions that a program takes at a time.
BLOCK = 512

# Below every key.
DEAD = tl.constexpr(-2147483648)


@triton.jit
def _key(score):
    """Integers that order as scores do; not a number is −∞, −0 is 0."""
    bits = (tl.where(score == score, score, float("-inf")) + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 2147483647, bits)


@kernel("N")
def basic_units_kernel(
    scores, sizes, starts, ends, best, expert, owner, covered,
    token_index, num_tokens, token_center, token_expert, s_b, s_n, s_e, N, E,
    WIDEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    scores += b * s_b
    best += b * N
    expert += b * N
    owner += b * N
    covered += b * N
    token_index += b * N
    token_center += b * N
    token_expert += b * N
    start = tl.minimum(tl.maximum(tl.load(starts + b), 0), N).to(tl.int32)
    end = tl.minimum(tl.maximum(tl.load(ends + b), start), N).to(tl.int32)
    lane = tl.arange(0, BLOCK)
    for first in range(0, N, BLOCK):
        i = first + lane
        is_outside = (i < start) | (i >= end)
        tl.store(covered + i, is_outside.to(tl.int8), mask=i < N)
        tl.store(owner + i, tl.full([BLOCK], -1, tl.int32), mask=i < N)
    tl.debug_barrier()
    alive = tl.where(end > start, 1, 0)
    while alive > 0:
        alive = 0
        # The best expert that still fits; blocks without a free base are passed over.
        for first in range(0, N, BLOCK):
            i = first + lane
            is_free = tl.load(covered + i, mask=i < N, other=1) == 0
            top = tl.full([BLOCK], DEAD, tl.int32)
            which = tl.zeros([BLOCK], tl.int32)
            if tl.max(is_free.to(tl.int32), axis=0) > 0:
                # Free bases without a gap before a position, and from it on.
                left, right = tl.zeros([BLOCK], tl.int32), tl.zeros([BLOCK], tl.int32)
                open_left, open_right = is_free, is_free
                for d in range(1, WIDEST + 1):
                    has_left, has_right = open_left & (i >= d), open_right & (i + d < N)
                    open_left = has_left & (tl.load(covered + i - d, mask=has_left, other=1) == 0)
                    left += open_left.to(tl.int32)
                    right += open_right.to(tl.int32)
                    open_right = has_right & (tl.load(covered + i + d, mask=has_right, other=1) == 0)
                for e in range(E):
                    size = tl.load(sizes + e)
                    fits = is_free & (size // 2 <= left) & (size - size // 2 <= right)
                    score = tl.load(scores + i.to(tl.int64) * s_n + e * s_e, mask=fits, other=0.0)
                    key = tl.where(fits, _key(score), DEAD)
                    is_better = key > top
                    top, which = tl.where(is_better, key, top), tl.where(is_better, e, which)
            tl.store(best + i, top, mask=i < N)
            tl.store(expert + i, which, mask=i < N)
            alive += tl.sum((top > DEAD).to(tl.int32), axis=0)
        tl.debug_barrier()
        # Those that outrank everything within reach.
        for first in range(0, N, BLOCK):
            i = first + lane
            top = tl.load(best + i, mask=i < N, other=DEAD)
            wins = top > DEAD
            if tl.max(wins.to(tl.int32), axis=0) > 0:
                for d in range(1, WIDEST + 1):
                    wins = wins & (top > tl.load(best + i - d, mask=wins & (i >= d), other=DEAD))
                    wins = wins & (top >= tl.load(best + i + d, mask=wins & (i + d < N), other=DEAD))
                which = tl.load(expert + i, mask=wins, other=0)
                size = tl.load(sizes + which, mask=wins, other=0)
                tl.store(owner + i - size // 2, which, mask=wins)
                for d in range(WIDEST):
                    taken = tl.full([BLOCK], 1, tl.int8)
                    tl.store(covered + i - size // 2 + d, taken, mask=wins & (d < size))
        tl.debug_barrier()
    # A token begins at the first base of a unit, and at a base of none.
    tokens = 0
    for first in range(0, N, BLOCK):
        i = first + lane
        is_base = (i >= start) & (i < end)
        own = tl.load(owner + i, mask=is_base, other=-1)
        is_taken = tl.load(covered + i, mask=is_base, other=1) != 0
        begins = is_base & ((own >= 0) | ~is_taken)
        number = tokens + tl.cumsum(begins.to(tl.int32), axis=0) - 1
        tokens += tl.sum(begins.to(tl.int32), axis=0)
        size = tl.load(sizes + own, mask=own >= 0, other=0)
        tl.store(token_index + i, tl.where(is_base, number, -1).to(tl.int64), mask=i < N)
        tl.store(token_center + number, (i + size // 2).to(tl.int64), mask=begins)
        tl.store(token_expert + number, own.to(tl.int64), mask=begins)
    tl.store(num_tokens + b, tokens.to(tl.int64))
    # Places behind the last token; no token lies there.
    for first in range(0, N, BLOCK):
        i = first + lane
        nothing = tl.full([BLOCK], -1, tl.int64)
        tl.store(token_center + i, nothing, mask=(i >= tokens) & (i < N))
        tl.store(token_expert + i, nothing, mask=(i >= tokens) & (i < N))


# Kept on the device: copying them at each call would wait for it.
@functools.lru_cache(maxsize=64)
def _on_device(kernel_sizes: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(kernel_sizes, dtype=torch.int32, device=device)


def forward(
    scores: torch.Tensor, kernel_sizes: list[int], starts: torch.Tensor, ends: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """``torch.ops.dnachunk.basic_units``."""
    starts, ends = dense(starts, ends)
    B, N, E = scores.shape
    index, center, expert = (scores.new_empty(B, N, dtype=torch.int64) for _ in range(3))
    if not B * N:
        return index, scores.new_zeros(B, dtype=torch.int64), center, expert
    count = scores.new_empty(B, dtype=torch.int64)
    keys, experts, owners = scores.new_empty((3, B, N), dtype=torch.int32)
    sizes = _on_device(tuple(kernel_sizes), scores.device)
    basic_units_kernel[(B,)](
        *(scores, sizes, starts, ends, keys, experts, owners, scores.new_empty((B, N), dtype=torch.int8)),
        *(index, count, center, expert, *strides(scores, 3), N, E),
        WIDEST=max(kernel_sizes, default=1), BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return index, count, center, expert
