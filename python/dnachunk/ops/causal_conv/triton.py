"""Triton kernels of ``causal_conv``: a program walks a block of positions, for some channels.

It holds what the last taps read, and in the backward pass the last gradients of sums, so every row is read
once but for three at a block's edge. Gradients of parameters are written as parts, one a block, and summed
afterwards.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, mirrored, strides, with_dense_rows

# Positions of a program, and its channels: two for each lane of a warp.
BLOCK, CHANNELS = 64, 64


@triton.jit
def _tap(weight, columns, inside, WIDTH: tl.constexpr, BACK: tl.constexpr):
    """What reads the position this many steps back; 0 where the convolution is narrower than four."""
    if BACK < WIDTH:
        return tl.load(weight + columns * WIDTH + (WIDTH - 1 - BACK), mask=inside, other=0.0)
    return tl.zeros(columns.shape, tl.float32)


@triton.jit
def _row(rows, stride_b, stride_n, b, step, real, columns, D, REVERSE: tl.constexpr):
    """A step's row in float32; 0 before the first and behind the last real one."""
    p = mirrored(step, real, REVERSE)
    mask = columns < tl.where((step >= 0) & (step < real), D, 0)
    return tl.load(rows + b * stride_b + p * stride_n + columns, mask=mask, other=0.0).to(tl.float32)


@kernel("N")
def forward_kernel(
    x, weight, bias, lengths, out, x_b, x_n, N, D,
    SILU: tl.constexpr, HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = columns < D
    real = clamped_length(lengths, b, N)
    tap0, tap1 = _tap(weight, columns, inside, WIDTH, 0), _tap(weight, columns, inside, WIDTH, 1)
    tap2, tap3 = _tap(weight, columns, inside, WIDTH, 2), _tap(weight, columns, inside, WIDTH, 3)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else tl.zeros([CHANNELS], tl.float32)
    first = tl.program_id(0) * BLOCK
    x1 = _row(x, x_b, x_n, b, first - 1, real, columns, D, REVERSE)
    x2 = _row(x, x_b, x_n, b, first - 2, real, columns, D, REVERSE)
    x3 = _row(x, x_b, x_n, b, first - 3, real, columns, D, REVERSE)
    for step in range(first, tl.minimum(first + BLOCK, N)):
        x0 = _row(x, x_b, x_n, b, step, real, columns, D, REVERSE)
        total = shift + tap3 * x3 + tap2 * x2 + tap1 * x1 + tap0 * x0
        if SILU:
            total = total * tl.sigmoid(total)
        total = tl.where(step < real, total, 0.0)
        at = out + (b * N + mirrored(step, real, REVERSE)) * D + columns
        tl.store(at, total.to(out.dtype.element_ty), mask=inside)
        x1, x2, x3 = x0, x1, x2


@kernel("N")
def backward_kernel(
    grad, x, weight, bias, lengths, grad_x, parts_weight, parts_bias, r_b, r_n, x_b, x_n, N, D,
    SILU: tl.constexpr, HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = columns < D
    real = clamped_length(lengths, b, N)
    tap0, tap1 = _tap(weight, columns, inside, WIDTH, 0), _tap(weight, columns, inside, WIDTH, 1)
    tap2, tap3 = _tap(weight, columns, inside, WIDTH, 2), _tap(weight, columns, inside, WIDTH, 3)
    nothing = tl.zeros([CHANNELS], tl.float32)
    shift = tl.load(bias + columns, mask=inside, other=0.0) if HAS_BIAS else nothing
    first = tl.program_id(0) * BLOCK
    last = tl.minimum(first + BLOCK, N)
    x1 = _row(x, x_b, x_n, b, first - 1, real, columns, D, REVERSE)
    x2 = _row(x, x_b, x_n, b, first - 2, real, columns, D, REVERSE)
    x3 = _row(x, x_b, x_n, b, first - 3, real, columns, D, REVERSE)
    # Gradients of the sums of the last three steps; a position's waits for the three sums behind it.
    g1, g2, g3 = nothing, nothing, nothing
    sum0, sum1, sum2, sum3, sum_bias = nothing, nothing, nothing, nothing, nothing
    for step in range(first, last + 3):
        x0 = _row(x, x_b, x_n, b, step, real, columns, D, REVERSE)
        g0 = _row(grad, r_b, r_n, b, step, real, columns, D, REVERSE)
        if SILU:
            total = shift + tap3 * x3 + tap2 * x2 + tap1 * x1 + tap0 * x0
            opening = tl.sigmoid(total)
            g0 = g0 * opening * (1.0 + total * (1.0 - opening))
        # Sums behind the block are its neighbour's to count.
        own = tl.where(step < last, g0, 0.0)
        sum0 += own * x0
        sum1 += own * x1
        sum2 += own * x2
        sum3 += own * x3
        sum_bias += own
        given = tap0 * g3 + tap1 * g2 + tap2 * g1 + tap3 * g0
        given = tl.where(step - 3 < real, given, 0.0)
        at = grad_x + (b * N + mirrored(step - 3, real, REVERSE)) * D + columns
        is_written = columns < tl.where(step - 3 >= first, D, 0)
        tl.store(at, given.to(grad_x.dtype.element_ty), mask=is_written)
        x1, x2, x3 = x0, x1, x2
        g1, g2, g3 = g0, g1, g2
    part = b * tl.num_programs(0) + tl.program_id(0)
    at = parts_weight + part * WIDTH * D + columns
    tl.store(at + (WIDTH - 1) * D, sum0, mask=inside)
    tl.store(at + (WIDTH - 2) * D, sum1, mask=inside)
    if WIDTH > 2:
        tl.store(at + (WIDTH - 3) * D, sum2, mask=inside)
    if WIDTH > 3:
        tl.store(at, sum3, mask=inside)
    if HAS_BIAS:
        tl.store(parts_bias + part * D + columns, sum_bias, mask=inside)


def _constants(weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool) -> dict[str, int]:
    return {
        **{"SILU": silu, "HAS_BIAS": bias is not None, "WIDTH": weight.shape[1]},
        **{"REVERSE": reverse, "BLOCK": BLOCK, "CHANNELS": CHANNELS, "num_warps": 1},
    }


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    lengths: torch.Tensor,
    silu: bool,
    reverse: bool,
) -> torch.Tensor:
    """``torch.ops.dnachunk.causal_conv``."""
    (x,), (weight, bias, lengths) = with_dense_rows(x), dense(weight, bias, lengths)
    B, N, D = x.shape
    out = x.new_empty(x.shape)
    if out.numel():
        forward_kernel[(triton.cdiv(N, BLOCK), triton.cdiv(D, CHANNELS), B)](
            x, weight, bias, lengths, out, *strides(x, 2), N, D, **_constants(weight, bias, silu, reverse)
        )
    return out


def backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    lengths: torch.Tensor,
    silu: bool,
    reverse: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.causal_conv_backward``: gradients of ``x``, ``weight`` and ``bias``."""
    (grad, x), (weight, bias, lengths) = with_dense_rows(grad, x), dense(weight, bias, lengths)
    (B, N, D), W = x.shape, weight.shape[1]
    parts = triton.cdiv(N, BLOCK)
    grad_x = x.new_empty(x.shape)
    parts_weight = weight.new_empty(B * parts, W, D)
    parts_bias = weight.new_empty((0, 0) if bias is None else (B * parts, D))
    if x.numel():
        backward_kernel[(parts, triton.cdiv(D, CHANNELS), B)](
            *(grad, x, weight, bias, lengths, grad_x, parts_weight, parts_bias),
            *(*strides(grad, 2), *strides(x, 2), N, D),
            **_constants(weight, bias, silu, reverse),
        )  # fmt: skip
    return grad_x, parts_weight.sum(0).T.contiguous(), parts_bias.sum(0)
