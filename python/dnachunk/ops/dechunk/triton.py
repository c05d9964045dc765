"""Triton kernels of ``dechunk``: a program walks a block of positions, for some channels.

Both recurrences are ``h_t = weight_t x_t + keep_t h_{t∓1}``. A first walk gives what each block alone leaves
on either side, a pass over the blocks what enters each, and a second walk the states; the gradients of the
states obey the same recurrences the other way. Padding has a weight of 1 and rows of 0, so states end there
by themselves. No sum is spread over programs: the same bits each time.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import dense, kernel, strides, with_dense_rows
from dnachunk.ops.dechunk.naive import SMALLEST_GATE

# Positions and channels of a program, and positions of one that works on gates alone.
BLOCK, CHANNELS, POSITIONS = 64, 128, 512


@triton.jit
def _gate(probability, is_forced, token_index, t, mask, SMALLEST):
    """Which positions are real, which have a gate of their own, and the gates: 1 elsewhere."""
    is_real = tl.load(token_index + t, mask=mask, other=-1) >= 0
    forced = tl.load(is_forced + t, mask=mask, other=1) != 0
    is_free = is_real & ~forced & (t > 0)
    gate = tl.load(probability + t, mask=mask & is_free, other=1.0)
    clamped = tl.minimum(tl.maximum(gate, SMALLEST), 1.0 - SMALLEST)
    return is_real, is_free & (gate == clamped), tl.where(is_free, clamped, 1.0)


@kernel("N")
def gates_kernel(
    probability, is_forced, token_index, left, right, starts, ends, N, L, SMALLEST,
    FROM_RIGHT: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """The weights of both recurrences, and where each chunk starts and ends."""
    b = tl.program_id(1).to(tl.int64)
    t = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    probability, is_forced, token_index = probability + b * N, is_forced + b * N, token_index + b * N
    inside = t < N
    has_next = t + 1 < N
    is_real, _, own = _gate(probability, is_forced, token_index, t, inside, SMALLEST)
    next_is_real, _, following = _gate(probability, is_forced, token_index, t + 1, has_next, SMALLEST)
    tl.store(left + b * N + t, own, mask=inside)
    to_right = following if FROM_RIGHT else tl.where(is_real & ~next_is_real, 1.0, own)
    tl.store(right + b * N + t, to_right, mask=inside)
    token = tl.load(token_index + t, mask=inside, other=-1)
    before = tl.load(token_index + t - 1, mask=inside & (t > 0), other=-1)
    after = tl.load(token_index + t + 1, mask=has_next, other=-1)
    is_token = inside & (token >= 0) & (token < L)
    tl.store(starts + b * L + token, t, mask=is_token & (before != token))
    tl.store(ends + b * L + token, t + 1, mask=is_token & (after != token))


@triton.jit
def _row(rows, token_index, stride_b, stride_n, b, t, N, L, columns, D, GATHER: tl.constexpr):
    """The row of a position's chunk, or of the position itself, in float32; 0 on padding."""
    token = tl.load(token_index + b * N + t)
    place = token if GATHER else tl.cast(t, tl.int64)
    mask = columns < tl.where((token >= 0) & (token < L), D, 0)
    return tl.load(rows + b * stride_b + place * stride_n + columns, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _weights(left, right, b, t, N, ADJOINT: tl.constexpr):
    """``(weight, keep)`` from the left, then from the right; of states, or of their gradients."""
    own_left, own_right = tl.load(left + b * N + t), tl.load(right + b * N + t)
    if ADJOINT:
        before = tl.load(right + b * N + t - 1, mask=t > 0, other=1.0)
        after = tl.load(left + b * N + t + 1, mask=t + 1 < N, other=1.0)
        return own_left * 0.0 + 1.0, 1.0 - before, own_right * 0.0 + 1.0, 1.0 - after
    else:  # noqa: RET505
        return own_left, 1.0 - own_left, own_right, 1.0 - own_right


@kernel("N")
def ends_kernel(
    rows, token_index, left, right, edges, keeps, stride_b, stride_n, N, L, D,
    GATHER: tl.constexpr, ADJOINT: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Of each block alone: the state at its end from the left and at its start from the right."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    at_end, at_start = tl.zeros([CHANNELS], tl.float32), tl.zeros([CHANNELS], tl.float32)
    keep_left, keep_right = tl.full([], 1.0, tl.float32), tl.full([], 1.0, tl.float32)
    for t in range(block * BLOCK, tl.minimum((block + 1) * BLOCK, N)):
        row = _row(rows, token_index, stride_b, stride_n, b, t, N, L, columns, D, GATHER)
        weight_l, keep_l, weight_r, keep_r = _weights(left, right, b, t, N, ADJOINT)
        at_end = weight_l * row + keep_l * at_end
        at_start += keep_right * weight_r * row
        keep_left *= keep_l
        keep_right *= keep_r
    place, other = b * blocks + block, tl.num_programs(2).to(tl.int64) * blocks
    tl.store(edges + place * D + columns, at_end, mask=columns < D)
    tl.store(edges + (other + place) * D + columns, at_start, mask=columns < D)
    is_first = tl.program_id(1) == 0
    tl.store(keeps + place, keep_left, mask=is_first)
    tl.store(keeps + other + place, keep_right, mask=is_first)


@kernel("blocks")
def pass_kernel(edges, keeps, blocks, D, CHANNELS: tl.constexpr):
    """Turns what each block leaves into what enters it."""
    side, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    first = (side * tl.num_programs(2) + b) * blocks
    state = tl.zeros([CHANNELS], tl.float32)
    for i in range(blocks):
        place = first + tl.where(side == 0, i, blocks - 1 - i)
        own = tl.load(edges + place * D + columns, mask=columns < D, other=0.0)
        tl.store(edges + place * D + columns, state, mask=columns < D)
        state = own + tl.load(keeps + place) * state


@kernel("N")
def output_kernel(
    values, token_index, left, right, edges, scratch, out, v_b, v_l, N, L, D,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Half the sum of both states of each position."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = columns < D
    place, other = b * blocks + block, tl.num_programs(2).to(tl.int64) * blocks
    from_left = tl.load(edges + place * D + columns, mask=inside, other=0.0)
    from_right = tl.load(edges + (other + place) * D + columns, mask=inside, other=0.0)
    first, last = block * BLOCK, tl.minimum((block + 1) * BLOCK, N)
    for i in range(last - first):
        t = last - 1 - i
        row = _row(values, token_index, v_b, v_l, b, t, N, L, columns, D, True)
        _, _, weight, keep = _weights(left, right, b, t, N, False)
        from_right = weight * row + keep * from_right
        tl.store(scratch + (b * N + t) * D + columns, from_right, mask=inside)
    tl.debug_barrier()
    for t in range(first, last):
        row = _row(values, token_index, v_b, v_l, b, t, N, L, columns, D, True)
        weight, keep, _, _ = _weights(left, right, b, t, N, False)
        from_left = weight * row + keep * from_left
        both = from_left + tl.load(scratch + (b * N + t) * D + columns, mask=inside, other=0.0)
        tl.store(out + (b * N + t) * D + columns, (both * 0.5).to(out.dtype.element_ty), mask=inside)


@kernel("N")
def backward_kernel(
    grad, values, token_index, left, right, edges, grad_edges, next_states, grad_rows, parts,
    g_b, g_n, v_b, v_l, N, L, D, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of each position's row, and those of its gates over these channels."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    tile, batch = tl.program_id(1), tl.num_programs(2)
    columns = tile * CHANNELS + tl.arange(0, CHANNELS)
    inside = columns < D
    place, other = b * blocks + block, batch.to(tl.int64) * blocks
    from_left = tl.load(edges + place * D + columns, mask=inside, other=0.0)
    from_right = tl.load(edges + (other + place) * D + columns, mask=inside, other=0.0)
    # The gradient of the states from the right comes from the left, and the other way round.
    grad_right = tl.load(grad_edges + place * D + columns, mask=inside, other=0.0)
    grad_left = tl.load(grad_edges + (other + place) * D + columns, mask=inside, other=0.0)
    first, last = block * BLOCK, tl.minimum((block + 1) * BLOCK, N)
    for i in range(last - first):
        t = last - 1 - i
        at = (b * N + t) * D + columns
        tl.store(next_states + at, from_right, mask=inside)
        row = _row(values, token_index, v_b, v_l, b, t, N, L, columns, D, True)
        given = _row(grad, token_index, g_b, g_n, b, t, N, L, columns, D, False)
        _, _, weight, keep = _weights(left, right, b, t, N, False)
        from_right = weight * row + keep * from_right
        _, _, _, keep = _weights(left, right, b, t, N, True)
        grad_left = given + keep * grad_left
        tl.store(grad_rows + at, grad_left, mask=inside)
    tl.debug_barrier()
    for t in range(first, last):
        at = (b * N + t) * D + columns
        row = _row(values, token_index, v_b, v_l, b, t, N, L, columns, D, True)
        given = _row(grad, token_index, g_b, g_n, b, t, N, L, columns, D, False)
        weight_l, keep_l, weight_r, _ = _weights(left, right, b, t, N, False)
        _, keep, _, _ = _weights(left, right, b, t, N, True)
        grad_right = given + keep * grad_right
        of_left = tl.load(grad_rows + at, mask=inside, other=0.0)
        following = tl.load(next_states + at, mask=inside, other=0.0)
        part = ((tile * 2).to(tl.int64) * batch + b) * N + t
        tl.store(parts + part, tl.sum(of_left * (row - from_left), axis=0))
        tl.store(parts + part + batch.to(tl.int64) * N, tl.sum(grad_right * (row - following), axis=0))
        from_left = weight_l * row + keep_l * from_left
        tl.store(grad_rows + at, weight_l * of_left + weight_r * grad_right, mask=inside)


@kernel()
def values_kernel(
    grad_rows, starts, ends, grad_values, N, L, D, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of a chunk's vector: half the sum over its positions."""
    token, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    start, end = tl.load(starts + b * L + token), tl.load(ends + b * L + token)
    total = tl.zeros([CHANNELS], tl.float32)
    for t in range(start, end):
        total += tl.load(grad_rows + (b * N + t) * D + columns, mask=columns < D, other=0.0)
    at = grad_values + (b * L + token) * D + columns
    tl.store(at, (total * 0.5).to(grad_values.dtype.element_ty), mask=columns < D)


@kernel("N")
def probability_kernel(
    probability, is_forced, token_index, parts, grad_probability, N, tiles, SMALLEST,
    FROM_RIGHT: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """The gradient of the probabilities, from those of the gates."""
    b, batch = tl.program_id(1).to(tl.int64), tl.num_programs(1).to(tl.int64)
    t = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    inside = t < N
    gates = (probability + b * N, is_forced + b * N, token_index + b * N)
    is_real, has_gradient, _ = _gate(gates[0], gates[1], gates[2], t, inside, SMALLEST)
    next_is_real, _, _ = _gate(gates[0], gates[1], gates[2], t + 1, t + 1 < N, SMALLEST)
    # From the right this probability gates the position before it, or its own unless that is the last.
    gated = t - 1 if FROM_RIGHT else t
    has_right = inside & (t > 0 if FROM_RIGHT else ~(is_real & ~next_is_real))
    total = tl.zeros([POSITIONS], tl.float32)
    for tile in range(tiles):
        part = parts + (2 * tile * batch + b) * N
        total += tl.load(part + t, mask=inside, other=0.0)
        total += tl.load(part + batch * N + gated, mask=has_right, other=0.0)
    total = tl.where(has_gradient, total * 0.5, 0.0)
    tl.store(grad_probability + b * N + t, total, mask=inside)


def _prepared(
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str,
) -> tuple[Any, ...]:
    """The gates of both recurrences, ``[2, B, N]``, and the chunks' bounds, ``[2, B, L]``."""
    (B, N), L = token_index.shape, values.shape[1]
    gates = values.new_empty((2, B, N), dtype=torch.float32)
    bounds = token_index.new_zeros((2, B, L), dtype=torch.int32)
    gates_kernel[(triton.cdiv(N, POSITIONS), B)](
        *(boundary_probability, is_forced, token_index, *gates, *bounds, N, L, SMALLEST_GATE),
        FROM_RIGHT=backward_gate == "right", POSITIONS=POSITIONS,
    )  # fmt: skip
    return gates, bounds


def _edges(
    rows: torch.Tensor, token_index: torch.Tensor, gates: torch.Tensor, tokens: int, is_adjoint: bool
) -> torch.Tensor:
    """What enters each block from the left and from the right: ``[2, B, blocks, D]``."""
    (B, N), D = token_index.shape, rows.shape[2]
    blocks, tiles = triton.cdiv(N, BLOCK), triton.cdiv(D, CHANNELS)
    edges = gates.new_empty(2, B, blocks, D)
    keeps = gates.new_empty(2, B, blocks)
    ends_kernel[(blocks, tiles, B)](
        *(rows, token_index, *gates, edges, keeps, *strides(rows, 2), N, tokens, D),
        GATHER=not is_adjoint, ADJOINT=is_adjoint, BLOCK=BLOCK, CHANNELS=CHANNELS, num_warps=1,
    )  # fmt: skip
    pass_kernel[(tiles, 2, B)](edges, keeps, blocks, D, CHANNELS=CHANNELS, num_warps=1)
    return edges


def forward(
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str,
) -> torch.Tensor:
    """``torch.ops.dnachunk.dechunk``."""
    (values,) = with_dense_rows(values)
    boundary_probability, is_forced, token_index = dense(boundary_probability, is_forced, token_index)
    (B, N), (_, L, D) = token_index.shape, values.shape
    out = values.new_empty(B, N, D)
    if out.numel():
        gates, _ = _prepared(values, boundary_probability, is_forced, token_index, backward_gate)
        edges = _edges(values, token_index, gates, L, False)
        output_kernel[(triton.cdiv(N, BLOCK), triton.cdiv(D, CHANNELS), B)](
            *(values, token_index, *gates, edges, gates.new_empty(B, N, D), out),
            *(*strides(values, 2), N, L, D),
            BLOCK=BLOCK, CHANNELS=CHANNELS, num_warps=1,
        )  # fmt: skip
    return out


def backward(
    grad: torch.Tensor,
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.dechunk_backward``: gradients of ``values`` and ``boundary_probability``."""
    grad, values = with_dense_rows(grad, values)
    boundary_probability, is_forced, token_index = dense(boundary_probability, is_forced, token_index)
    (B, N), (_, L, D) = token_index.shape, values.shape
    if not B * N * L * D:
        return values.new_zeros(values.shape), boundary_probability.new_zeros(boundary_probability.shape)
    gates, bounds = _prepared(values, boundary_probability, is_forced, token_index, backward_gate)
    edges, grad_edges = (
        _edges(values, token_index, gates, L, False),
        _edges(grad, token_index, gates, L, True),
    )
    tiles = triton.cdiv(D, CHANNELS)
    next_states, grad_rows = gates.new_empty(2, B, N, D)
    parts = gates.new_empty(tiles, 2, B, N)
    backward_kernel[(triton.cdiv(N, BLOCK), tiles, B)](
        *(grad, values, token_index, *gates, edges, grad_edges, next_states, grad_rows, parts),
        *(*strides(grad, 2), *strides(values, 2), N, L, D),
        BLOCK=BLOCK, CHANNELS=CHANNELS, num_warps=1,
    )  # fmt: skip
    grad_values, grad_probability = values.new_empty(values.shape), gates.new_empty(B, N)
    values_kernel[(L, tiles, B)](grad_rows, *bounds, grad_values, N, L, D, CHANNELS=CHANNELS, num_warps=1)
    probability_kernel[(triton.cdiv(N, POSITIONS), B)](
        *(boundary_probability, is_forced, token_index, parts, grad_probability, N, tiles, SMALLEST_GATE),
        FROM_RIGHT=backward_gate == "right", POSITIONS=POSITIONS,
    )  # fmt: skip
    return grad_values, grad_probability
