"""Triton kernels of ``selective_scan``: a program takes a block of steps of 32 channels.

The forward pass runs every block from states of 0, turns what each block leaves into what enters the next,
and runs the blocks again from there; the backward pass does the same with the gradients of the states. A lane
owns a channel and holds its ``S`` states, so no sum over states leaves a lane. Gradients that sum over
positions or channels are written as parts, one a program, and summed afterwards: no atomics, hence the same
bits each time.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import (
    LOG2_E,
    clamped_length,
    dense,
    kernel,
    mirrored,
    softplus,
    strides,
    with_dense_rows,
)

# Steps between stored states, as in Rust and in the operation's shape rule.
BLOCK = 64
# Channels of a program, one for each lane; steps whose states the backward pass holds in registers.
CHANNELS, SUB_BLOCK = 32, 4
# Programs of the backward pass that have scratch at a time, 32 KiB each at 16 states.
PROGRAMS = 8192


@triton.jit
def _row(pointer, stride_b, stride_n, b, position, columns, mask):
    """One position's row in float32, 0 where masked."""
    return tl.load(pointer + b * stride_b + position * stride_n + columns, mask=mask, other=0.0).to(
        tl.float32
    )


@triton.jit
def _step(delta, bias, stride_b, stride_n, b, position, columns, mask):
    """``Δ`` before softplus, and ``Δ``: 0 where masked, so that states stay as they are."""
    shifted = _row(delta, stride_b, stride_n, b, position, columns, mask) + bias
    return shifted, tl.where(mask, softplus(shifted), 0.0)


@triton.jit
def _rates(state_matrix, columns, s, S, mask):
    """``A [S, D]`` with the factor that makes ``exp`` an ``exp2``."""
    return tl.load(state_matrix + columns[None, :] * S + s[:, None], mask=mask, other=0.0) * LOG2_E


@kernel("N")
def states_kernel(
    x, delta, state_matrix, input_matrix, bias, lengths, states, sums,
    x_b, x_n, d_b, d_n, i_b, i_n, N, D, S,
    REVERSE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each block alone: the states it leaves, and the sum of its steps."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, STATES)
    inside, is_state = columns < D, s < S
    mask = inside[None, :] & is_state[:, None]
    real = clamped_length(lengths, b, N)
    rates = _rates(state_matrix, columns, s, S, mask)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else tl.zeros([CHANNELS], tl.float32)
    h = tl.zeros([STATES, CHANNELS], tl.float32)
    total = tl.zeros([CHANNELS], tl.float32)
    for step in range(block * BLOCK, tl.minimum((block + 1) * BLOCK, real)):
        p = mirrored(step, real, REVERSE)
        _, dt = _step(delta, shift, d_b, d_n, b, p, columns, inside)
        v = _row(x, x_b, x_n, b, p, columns, inside)
        inputs = _row(input_matrix, i_b, i_n, b, p, s, is_state)
        h = tl.exp2(dt[None, :] * rates) * h + inputs[:, None] * (dt * v)[None, :]
        total += dt
    place = b * blocks + block
    tl.store(states + place * S * D + s[:, None] * D + columns[None, :], h, mask=mask)
    tl.store(sums + place * D + columns, total, mask=inside)


@kernel("blocks")
def pass_kernel(
    state_matrix, states, sums, blocks, D, S,
    BACKWARD: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Turns what each block leaves into what enters it, from the first block on or from the last."""
    b = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, STATES)
    inside = columns < D
    mask = inside[None, :] & (s < S)[:, None]
    rates = _rates(state_matrix, columns, s, S, mask)
    h = tl.zeros([STATES, CHANNELS], tl.float32)
    for i in range(blocks):
        place = b * blocks + (blocks - 1 - i if BACKWARD else i)
        own = states + place * S * D + s[:, None] * D + columns[None, :]
        left = tl.load(own, mask=mask, other=0.0)
        total = tl.load(sums + place * D + columns, mask=inside, other=0.0)
        tl.store(own, h, mask=mask)
        h = tl.exp2(total[None, :] * rates) * h + left


@kernel("N")
def output_kernel(
    x, delta, state_matrix, input_matrix, output_matrix, skip, gate, bias, lengths, states, out,
    x_b, x_n, d_b, d_n, i_b, i_n, o_b, o_n, g_b, g_n, N, D, S,
    REVERSE: tl.constexpr, HAS_GATE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The results of a block, from the states that enter it."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, STATES)
    inside, is_state = columns < D, s < S
    mask = inside[None, :] & is_state[:, None]
    real = clamped_length(lengths, b, N)
    rates = _rates(state_matrix, columns, s, S, mask)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else tl.zeros([CHANNELS], tl.float32)
    direct = tl.load(skip + columns, mask=inside, other=0.0)
    entering = states + (b * blocks + block) * S * D + s[:, None] * D + columns[None, :]
    h = tl.load(entering, mask=mask, other=0.0)
    for step in range(block * BLOCK, tl.minimum((block + 1) * BLOCK, N)):
        p = mirrored(step, real, REVERSE)
        y = tl.zeros([CHANNELS], tl.float32)
        if step < real:
            _, dt = _step(delta, shift, d_b, d_n, b, p, columns, inside)
            v = _row(x, x_b, x_n, b, p, columns, inside)
            inputs = _row(input_matrix, i_b, i_n, b, p, s, is_state)
            outputs = _row(output_matrix, o_b, o_n, b, p, s, is_state)
            h = tl.exp2(dt[None, :] * rates) * h + inputs[:, None] * (dt * v)[None, :]
            y = tl.sum(h * outputs[:, None], axis=0) + direct * v
            if HAS_GATE:
                z = _row(gate, g_b, g_n, b, p, columns, inside)
                y = y * z * tl.sigmoid(z)
        tl.store(out + (b * N + p) * D + columns, y.to(out.dtype.element_ty), mask=inside)


@kernel("N")
def adjoint_kernel(
    grad, delta, state_matrix, output_matrix, gate, bias, lengths, adjoint, sums,
    r_b, r_n, d_b, d_n, o_b, o_n, g_b, g_n, N, D, S,
    REVERSE: tl.constexpr, HAS_GATE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each block alone: the gradient of the states before it."""
    block, blocks, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, STATES)
    inside, is_state = columns < D, s < S
    mask = inside[None, :] & is_state[:, None]
    real = clamped_length(lengths, b, N)
    rates = _rates(state_matrix, columns, s, S, mask)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else tl.zeros([CHANNELS], tl.float32)
    g = tl.zeros([STATES, CHANNELS], tl.float32)
    total = tl.zeros([CHANNELS], tl.float32)
    first, last = block * BLOCK, tl.minimum((block + 1) * BLOCK, real)
    for i in range(last - first):
        p = mirrored(last - 1 - i, real, REVERSE)
        _, dt = _step(delta, shift, d_b, d_n, b, p, columns, inside)
        gy = _row(grad, r_b, r_n, b, p, columns, inside)
        if HAS_GATE:
            z = _row(gate, g_b, g_n, b, p, columns, inside)
            gy = gy * z * tl.sigmoid(z)
        outputs = _row(output_matrix, o_b, o_n, b, p, s, is_state)
        g = tl.exp2(dt[None, :] * rates) * (g + outputs[:, None] * gy[None, :])
        total += dt
    place = b * blocks + block
    tl.store(sums + place * D + columns, total, mask=inside)
    tl.store(adjoint + place * S * D + s[:, None] * D + columns[None, :], g, mask=mask)


@kernel("N", "first_block", "blocks")
def backward_kernel(
    grad, x, delta, state_matrix, input_matrix, output_matrix, skip, gate, bias, lengths,
    states, adjoint, scratch,
    grad_x, grad_delta, grad_state_matrix, grad_input_matrix, grad_output_matrix, grad_skip, grad_gate,
    grad_bias,
    r_b, r_n, x_b, x_n, d_b, d_n, i_b, i_n, o_b, o_n, g_b, g_n, N, D, S, first_block, blocks,
    REVERSE: tl.constexpr, HAS_GATE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr, SUB_BLOCK: tl.constexpr,
):  # fmt: skip
    """All gradients of a block; those that sum over positions or channels as parts."""
    b = tl.program_id(2).to(tl.int64)
    block, tile, tiles = first_block + tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    columns = tile * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, STATES)
    inside, is_state = columns < D, s < S
    mask = inside[None, :] & is_state[:, None]
    real = clamped_length(lengths, b, N)
    rates = _rates(state_matrix, columns, s, S, mask)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else tl.zeros([CHANNELS], tl.float32)
    direct = tl.load(skip + columns, mask=inside, other=0.0)
    place = b * blocks + block
    own = place * S * D + s[:, None] * D + columns[None, :]
    h = tl.load(states + own, mask=mask, other=0.0)
    g = tl.load(adjoint + own, mask=mask, other=0.0)
    # The states before every sub-block, in scratch that this program alone writes and reads.
    program = (b * tl.num_programs(0) + tl.program_id(0)) * tiles + tile
    scratch += program * (BLOCK // SUB_BLOCK) * STATES * CHANNELS
    tile_of_states = s[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    first = block * BLOCK
    for part in range(BLOCK // SUB_BLOCK):
        tl.store(scratch + part * STATES * CHANNELS + tile_of_states, h)
        for i in range(SUB_BLOCK):
            step = first + part * SUB_BLOCK + i
            ok = columns < tl.where(step < real, D, 0)
            p = mirrored(step, real, REVERSE)
            _, dt = _step(delta, shift, d_b, d_n, b, p, columns, ok)
            v = _row(x, x_b, x_n, b, p, columns, ok)
            inputs = _row(input_matrix, i_b, i_n, b, p, s, s < tl.where(step < real, S, 0))
            h = tl.exp2(dt[None, :] * rates) * h + inputs[:, None] * (dt * v)[None, :]
    tl.debug_barrier()
    sum_matrix = tl.zeros([STATES, CHANNELS], tl.float32)
    sum_skip = tl.zeros([CHANNELS], tl.float32)
    sum_bias = tl.zeros([CHANNELS], tl.float32)
    for k in range(BLOCK // SUB_BLOCK):
        part = BLOCK // SUB_BLOCK - 1 - k
        h = tl.load(scratch + part * STATES * CHANNELS + tile_of_states)
        before = ()
        for i in tl.static_range(SUB_BLOCK):
            before = before + (h,)
            step = first + part * SUB_BLOCK + i
            ok = columns < tl.where(step < real, D, 0)
            p = mirrored(step, real, REVERSE)
            _, dt = _step(delta, shift, d_b, d_n, b, p, columns, ok)
            v = _row(x, x_b, x_n, b, p, columns, ok)
            inputs = _row(input_matrix, i_b, i_n, b, p, s, s < tl.where(step < real, S, 0))
            h = tl.exp2(dt[None, :] * rates) * h + inputs[:, None] * (dt * v)[None, :]
        for i in tl.static_range(SUB_BLOCK):
            step = first + part * SUB_BLOCK + (SUB_BLOCK - 1 - i)
            ok, has_state = columns < tl.where(step < real, D, 0), s < tl.where(step < real, S, 0)
            write, writes_state = columns < tl.where(step < N, D, 0), s < tl.where(step < N, S, 0)
            p = mirrored(step, real, REVERSE)
            shifted, dt = _step(delta, shift, d_b, d_n, b, p, columns, ok)
            v = _row(x, x_b, x_n, b, p, columns, ok)
            inputs = _row(input_matrix, i_b, i_n, b, p, s, has_state)
            outputs = _row(output_matrix, o_b, o_n, b, p, s, has_state)
            gy = _row(grad, r_b, r_n, b, p, columns, ok)
            if HAS_GATE:
                z = _row(gate, g_b, g_n, b, p, columns, ok)
                opening = tl.sigmoid(z)
                y = tl.sum(h * outputs[:, None], axis=0) + direct * v
                gz = gy * y * opening * (1.0 + z * (1.0 - opening))
                tl.store(grad_gate + (b * N + p) * D + columns, gz.to(grad_gate.dtype.element_ty), mask=write)
                gy = gy * z * opening
            previous = before[SUB_BLOCK - 1 - i]
            g += outputs[:, None] * gy[None, :]
            kept = g * tl.exp2(dt[None, :] * rates)
            exponent = kept * previous  # the gradient of Δ A
            sum_matrix += exponent * dt[None, :]
            driven = tl.sum(g * inputs[:, None], axis=0)
            # The rates hold log2 e; Δ's gradient takes it back.
            g_step = driven * v + tl.sum(exponent * rates, axis=0) * (1.0 / LOG2_E)
            g_shifted = tl.where(ok, g_step * tl.sigmoid(shifted), 0.0)
            g_v = driven * dt + direct * gy
            sum_skip += gy * v
            sum_bias += g_shifted
            at = (b * N + p) * D + columns
            tl.store(grad_x + at, g_v.to(grad_x.dtype.element_ty), mask=write)
            tl.store(grad_delta + at, g_shifted.to(grad_delta.dtype.element_ty), mask=write)
            row = ((tile * tl.num_programs(2) + b) * N + p) * S + s
            tl.store(grad_input_matrix + row, tl.sum(g * (dt * v)[None, :], axis=1), mask=writes_state)
            tl.store(grad_output_matrix + row, tl.sum(h * gy[None, :], axis=1), mask=writes_state)
            h = previous
            g = kept
    tl.store(grad_state_matrix + own, sum_matrix, mask=mask)
    tl.store(grad_skip + place * D + columns, sum_skip, mask=inside)
    if HAS_BIAS:
        tl.store(grad_bias + place * D + columns, sum_bias, mask=inside)


def _tiling(states: int) -> dict[str, int]:
    return {"STATES": triton.next_power_of_2(max(states, 1)), "CHANNELS": CHANNELS, "num_warps": 1}


def forward(
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    lengths: torch.Tensor,
    reverse: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.selective_scan``: the result and the states that enter each block."""
    x, delta, input_matrix, output_matrix, gate = with_dense_rows(x, delta, input_matrix, output_matrix, gate)
    state_matrix, skip, delta_bias, lengths = dense(state_matrix, skip, delta_bias, lengths)
    (B, N, D), S = x.shape, state_matrix.shape[1]
    blocks, tiles = triton.cdiv(N, BLOCK), triton.cdiv(D, CHANNELS)
    out = x.new_empty(x.shape)
    states = x.new_empty((B, blocks, S, D), dtype=torch.float32)
    if not out.numel():
        return out, states
    sums = x.new_empty((B, blocks, D), dtype=torch.float32)
    options = _tiling(S)
    flags = {"REVERSE": reverse, "HAS_BIAS": delta_bias is not None}
    states_kernel[(blocks, tiles, B)](
        *(x, delta, state_matrix, input_matrix, delta_bias, lengths, states, sums),
        *(*strides(x, 2), *strides(delta, 2), *strides(input_matrix, 2), N, D, S),
        **flags, BLOCK=BLOCK, **options,
    )  # fmt: skip
    pass_kernel[(tiles, B)](state_matrix, states, sums, blocks, D, S, BACKWARD=False, **options)
    output_kernel[(blocks, tiles, B)](
        *(x, delta, state_matrix, input_matrix, output_matrix, skip, gate, delta_bias, lengths, states, out),
        *(*strides(x, 2), *strides(delta, 2), *strides(input_matrix, 2), *strides(output_matrix, 2)),
        *(*strides(gate, 2), N, D, S),
        **flags, HAS_GATE=gate is not None, BLOCK=BLOCK, **options,
    )  # fmt: skip
    return out, states


def backward(
    grad: torch.Tensor,
    states: torch.Tensor,
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    lengths: torch.Tensor,
    reverse: bool,
) -> tuple[torch.Tensor, ...]:
    """``torch.ops.dnachunk.selective_scan_backward``: the gradients in the order of the arguments."""
    grad, x, delta, input_matrix, output_matrix, gate = with_dense_rows(
        grad, x, delta, input_matrix, output_matrix, gate
    )
    states, state_matrix, skip, delta_bias, lengths = dense(states, state_matrix, skip, delta_bias, lengths)
    (B, N, D), S = x.shape, state_matrix.shape[1]
    blocks, tiles = triton.cdiv(N, BLOCK), triton.cdiv(D, CHANNELS)

    def parts(*shape: int) -> torch.Tensor:
        return x.new_empty(shape, dtype=torch.float32)

    grad_x, grad_delta = x.new_empty(x.shape), x.new_empty(x.shape)
    grad_gate = x.new_empty((0, 0, 0) if gate is None else x.shape)
    parts_matrix, parts_skip = parts(B * blocks, S, D), parts(B * blocks, D)
    parts_input, parts_output = parts(tiles, B, N, S), parts(tiles, B, N, S)
    parts_bias = parts(0 if delta_bias is None else B * blocks, 0 if delta_bias is None else D)
    if x.numel():
        adjoint, sums = parts(B, blocks, S, D), parts(B, blocks, D)
        options = _tiling(S)
        flags = {"REVERSE": reverse, "HAS_GATE": gate is not None, "HAS_BIAS": delta_bias is not None}
        adjoint_kernel[(blocks, tiles, B)](
            *(grad, delta, state_matrix, output_matrix, gate, delta_bias, lengths, adjoint, sums),
            *(*strides(grad, 2), *strides(delta, 2), *strides(output_matrix, 2), *strides(gate, 2), N, D, S),
            **flags, BLOCK=BLOCK, **options,
        )  # fmt: skip
        pass_kernel[(tiles, B)](state_matrix, adjoint, sums, blocks, D, S, BACKWARD=True, **options)
        # Some blocks at a time, so that scratch does not grow with the sequence.
        at_a_time = min(blocks, max(1, PROGRAMS // (tiles * B)))
        scratch = parts(at_a_time * tiles * B, BLOCK // SUB_BLOCK, options["STATES"], CHANNELS)
        for first in range(0, blocks, at_a_time):
            backward_kernel[(min(at_a_time, blocks - first), tiles, B)](
                *(grad, x, delta, state_matrix, input_matrix, output_matrix, skip, gate, delta_bias, lengths),
                *(states, adjoint, scratch, grad_x, grad_delta, parts_matrix, parts_input, parts_output),
                *(parts_skip, grad_gate, parts_bias, *strides(grad, 2), *strides(x, 2), *strides(delta, 2)),
                *(*strides(input_matrix, 2), *strides(output_matrix, 2), *strides(gate, 2)),
                *(N, D, S, first, blocks),
                **flags, BLOCK=BLOCK, SUB_BLOCK=SUB_BLOCK, **options,
            )  # fmt: skip
    return (
        *(grad_x, grad_delta, parts_matrix.sum(0).T.contiguous()),
        *(parts_input.sum(0).to(x.dtype), parts_output.sum(0).to(x.dtype), parts_skip.sum(0)),
        *(grad_gate, parts_bias.sum(0)),
    )
