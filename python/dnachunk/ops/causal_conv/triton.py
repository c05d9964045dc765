"""Triton kernels of ``causal_conv``: a program takes a tile of positions and channels, or some in a row."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides, with_dense_rows

# Positions and channels of a tile; tiles that a program of the backward pass sums parameters' gradients over.
POSITIONS, CHANNELS, TILES = 16, 32, 8


@triton.jit
def _sums(
    x, weight, bias, x_b, x_n, b, p, columns, real, D, HAS_BIAS, WIDTH: tl.constexpr, TOWARDS: tl.constexpr
):
    """What the taps of positions ``p [P]`` sum to, before the activation: ``[P, C]`` in float32."""
    inside = columns < D
    total = tl.zeros([p.shape[0], columns.shape[0]], tl.float32)
    if HAS_BIAS:
        total += tl.load(bias + columns, mask=inside, other=0.0)[None, :]
    for w in tl.static_range(WIDTH):
        q = p + TOWARDS * (WIDTH - 1 - w)
        is_read = ((p < real) & (q >= 0) & (q < real))[:, None] & inside[None, :]
        at = x + b * x_b + q.to(tl.int64)[:, None] * x_n + columns[None, :]
        tap = tl.load(weight + columns * WIDTH + w, mask=inside, other=0.0)
        total += tap[None, :] * tl.load(at, mask=is_read, other=0.0).to(tl.float32)
    return total


@kernel("N")
def forward_kernel(
    x, weight, bias, lengths, out, x_b, x_n, N, D,
    SILU: tl.constexpr, HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, TOWARDS: tl.constexpr,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real = clamped_length(lengths, b, N)
    total = _sums(x, weight, bias, x_b, x_n, b, p, columns, real, D, HAS_BIAS, WIDTH, TOWARDS)
    if SILU:
        total = total * tl.sigmoid(total)
    total = tl.where((p < real)[:, None], total, 0.0)
    at = out + (b * N + p.to(tl.int64)[:, None]) * D + columns[None, :]
    tl.store(at, total.to(out.dtype.element_ty), mask=(p < N)[:, None] & (columns < D)[None, :])


@triton.jit
def _gradient(
    grad, x, weight, bias, r_b, r_n, x_b, x_n, b, p, columns, real, D,
    SILU: tl.constexpr, HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, TOWARDS: tl.constexpr,
):  # fmt: skip
    """The gradient of the sums of positions ``p``; 0 where there is no real position."""
    is_real = ((p >= 0) & (p < real))[:, None] & (columns < D)[None, :]
    at = grad + b * r_b + p.to(tl.int64)[:, None] * r_n + columns[None, :]
    gradient = tl.load(at, mask=is_real, other=0.0).to(tl.float32)
    if SILU:
        total = _sums(x, weight, bias, x_b, x_n, b, p, columns, real, D, HAS_BIAS, WIDTH, TOWARDS)
        opening = tl.sigmoid(total)
        gradient = tl.where(is_real, gradient * opening * (1.0 + total * (1.0 - opening)), 0.0)
    return gradient


@kernel("N")
def backward_kernel(
    grad, x, weight, bias, lengths, grad_x, parts_weight, parts_bias, r_b, r_n, x_b, x_n, N, D,
    SILU: tl.constexpr, HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, TOWARDS: tl.constexpr,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = columns < D
    real = clamped_length(lengths, b, N)
    part = b * tl.num_programs(0) + tl.program_id(0)
    first = tl.program_id(0) * POSITIONS * TILES
    taps = tl.arange(0, 4)
    sum_weight = tl.zeros([4, CHANNELS], tl.float32)
    sum_bias = tl.zeros([CHANNELS], tl.float32)
    for tile in range(TILES):
        p = first + tile * POSITIONS + tl.arange(0, POSITIONS)
        is_read = (p < real)[:, None] & inside[None, :]
        own = tl.load(
            x + b * x_b + p.to(tl.int64)[:, None] * x_n + columns[None, :], mask=is_read, other=0.0
        ).to(tl.float32)
        total = tl.zeros([POSITIONS, CHANNELS], tl.float32)
        # A position is read by the sums of those k further on, through tap W - 1 - k.
        for k in range(WIDTH):
            gradient = _gradient(
                grad, x, weight, bias, r_b, r_n, x_b, x_n, b, p - TOWARDS * k, columns, real, D,
                SILU, HAS_BIAS, WIDTH, TOWARDS,
            )  # fmt: skip
            tap = tl.load(weight + columns * WIDTH + (WIDTH - 1 - k), mask=inside, other=0.0)
            total += tap[None, :] * gradient
            products = tl.sum(gradient * own, axis=0)
            sum_weight += tl.where((taps == WIDTH - 1 - k)[:, None], products[None, :], 0.0)
            sum_bias += tl.where(k == 0, tl.sum(gradient, axis=0), 0.0)
        at = grad_x + (b * N + p.to(tl.int64)[:, None]) * D + columns[None, :]
        total = tl.where(is_read, total, 0.0)
        tl.store(at, total.to(grad_x.dtype.element_ty), mask=(p < N)[:, None] & inside[None, :])
    at = parts_weight + (part * WIDTH + taps[:, None]) * D + columns[None, :]
    tl.store(at, sum_weight, mask=(taps < WIDTH)[:, None] & inside[None, :])
    if HAS_BIAS:
        tl.store(parts_bias + part * D + columns, sum_bias, mask=inside)


def _constants(weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool) -> dict[str, int]:
    return {
        **{"SILU": silu, "HAS_BIAS": bias is not None, "WIDTH": weight.shape[1]},
        **{"TOWARDS": 1 if reverse else -1, "POSITIONS": POSITIONS, "CHANNELS": CHANNELS},
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
        forward_kernel[(triton.cdiv(N, POSITIONS), triton.cdiv(D, CHANNELS), B)](
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
    parts = triton.cdiv(N, POSITIONS * TILES)
    grad_x = x.new_empty(x.shape)
    parts_weight = weight.new_empty(B * parts, W, D)
    parts_bias = weight.new_empty((0, 0) if bias is None else (B * parts, D))
    if x.numel():
        backward_kernel[(parts, triton.cdiv(D, CHANNELS), B)](
            *(grad, x, weight, bias, lengths, grad_x, parts_weight, parts_bias),
            *(*strides(grad, 2), *strides(x, 2), N, D),
            **_constants(weight, bias, silu, reverse), TILES=TILES,
        )  # fmt: skip
    return grad_x, parts_weight.sum(0).T.contiguous(), parts_bias.sum(0)
