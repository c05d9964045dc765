"""Triton kernels of ``window_attention``: a program takes one head of one window.

Rotary positions turn the first half of a head's channels with the second, so the halves stay apart: scores
are the sum of two products. Everything is float32 inside, products too.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides, with_dense_rows

# What a position that is not attended to scores; finite, so that a window of padding gives numbers.
LEAST = tl.constexpr(-3.0e38)


@triton.jit
def _half(pointer, p, stride_n, c, mask):
    """Half the channels of a window's positions in float32, 0 where masked: ``[W, C]``."""
    at = pointer + p.to(tl.int64)[:, None] * stride_n + c[None, :]
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _turned(pointer, p, stride_n, c, half, cos, sin, mask):
    first, second = _half(pointer, p, stride_n, c, mask), _half(pointer + half, p, stride_n, c, mask)
    return first * cos - second * sin, second * cos + first * sin


@triton.jit
def _product(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _weights(query1, query2, key1, key2, bias, p, is_key, scale):
    """Softmax over a window's real positions, of each of its queries: ``[W, W]``."""
    scores = (_product(query1, tl.trans(key1)) + _product(query2, tl.trans(key2))) * scale
    if bias is not None:
        scores += tl.load(bias + p, mask=is_key, other=0.0)[None, :]
    scores = tl.where(is_key[None, :], scores, LEAST)
    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    return weights / tl.sum(weights, axis=1)[:, None]


@kernel("N")
def forward_kernel(
    qkv, cos, sin, lengths, bias, out,
    q_b, q_n, q_k, q_h, c_b, c_n, s_b, s_n, N, H, half, window, shift, scale,
    WINDOW: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    b, head = tl.program_id(2).to(tl.int64), tl.program_id(1)
    place, c = tl.arange(0, WINDOW), tl.arange(0, HALF)
    p = tl.where(shift > 0, shift - window, 0) + tl.program_id(0) * window + place
    real = clamped_length(lengths, b, N)
    in_window = (place < window) & (p >= 0)
    is_key = in_window & (p < real)
    channels = (c < half)[None, :]
    mask = is_key[:, None] & channels
    turn = _half(cos + b * c_b, p, c_n, c, mask), _half(sin + b * s_b, p, s_n, c, mask)
    qkv += b * q_b + head * q_h
    if bias is not None:
        bias += b * N
    query1, query2 = _turned(qkv, p, q_n, c, half, turn[0], turn[1], mask)
    key1, key2 = _turned(qkv + q_k, p, q_n, c, half, turn[0], turn[1], mask)
    weights = _weights(query1, query2, key1, key2, bias, p, is_key, scale)
    out1 = _product(weights, _half(qkv + 2 * q_k, p, q_n, c, mask))
    out2 = _product(weights, _half(qkv + 2 * q_k + half, p, q_n, c, mask))
    out1, out2 = tl.where(is_key[:, None], out1, 0.0), tl.where(is_key[:, None], out2, 0.0)
    at = out + ((b * N + p.to(tl.int64)) * H + head)[:, None] * (2 * half) + c[None, :]
    mask = (in_window & (p < N))[:, None] & channels
    tl.store(at, out1.to(out.dtype.element_ty), mask=mask)
    tl.store(at + half, out2.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _store_turned_back(pointer, grad1, grad2, half, cos, sin, mask):
    turned1, turned2 = grad1 * cos + grad2 * sin, grad2 * cos - grad1 * sin
    tl.store(pointer, turned1.to(pointer.dtype.element_ty), mask=mask)
    tl.store(pointer + half, turned2.to(pointer.dtype.element_ty), mask=mask)


@kernel("N")
def backward_kernel(
    grad, qkv, cos, sin, lengths, bias, grad_qkv, grad_bias,
    g_b, g_n, g_h, q_b, q_n, q_k, q_h, c_b, c_n, s_b, s_n, N, H, half, window, shift, scale,
    WINDOW: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    b, head = tl.program_id(2).to(tl.int64), tl.program_id(1)
    place, c = tl.arange(0, WINDOW), tl.arange(0, HALF)
    p = tl.where(shift > 0, shift - window, 0) + tl.program_id(0) * window + place
    real = clamped_length(lengths, b, N)
    in_window = (place < window) & (p >= 0)
    is_key = in_window & (p < real)
    channels = (c < half)[None, :]
    mask = is_key[:, None] & channels
    turn = _half(cos + b * c_b, p, c_n, c, mask), _half(sin + b * s_b, p, s_n, c, mask)
    qkv += b * q_b + head * q_h
    if bias is not None:
        bias += b * N
    query1, query2 = _turned(qkv, p, q_n, c, half, turn[0], turn[1], mask)
    key1, key2 = _turned(qkv + q_k, p, q_n, c, half, turn[0], turn[1], mask)
    weights = _weights(query1, query2, key1, key2, bias, p, is_key, scale)
    grad += b * g_b + head * g_h
    grad1, grad2 = _half(grad, p, g_n, c, mask), _half(grad + half, p, g_n, c, mask)
    value1 = _half(qkv + 2 * q_k, p, q_n, c, mask)
    value2 = _half(qkv + 2 * q_k + half, p, q_n, c, mask)
    grad_weights = _product(grad1, tl.trans(value1)) + _product(grad2, tl.trans(value2))
    grad_scores = grad_weights - tl.sum(grad_weights * weights, axis=1)[:, None]
    grad_scores = tl.where(is_key[:, None], grad_scores * weights, 0.0)
    if bias is not None:
        # [H, B, N]: heads are of different programs.
        at = grad_bias + (head.to(tl.int64) * tl.num_programs(2) + b) * N + p
        tl.store(at, tl.where(is_key, tl.sum(grad_scores, axis=0), 0.0), mask=in_window & (p < N))
    grad_scores *= scale
    weights = tl.where(is_key[:, None], weights, 0.0)
    mask = (in_window & (p < N))[:, None] & channels
    # [B, N, 3, H, d], without gaps.
    at = ((b * N + p.to(tl.int64)) * 3 * H + head)[:, None] * (2 * half) + c[None, :]
    step = H * 2 * half
    turned1, turned2 = _product(grad_scores, key1), _product(grad_scores, key2)
    _store_turned_back(grad_qkv + at, turned1, turned2, half, turn[0], turn[1], mask)
    grad_scores = tl.trans(grad_scores)
    turned1, turned2 = _product(grad_scores, query1), _product(grad_scores, query2)
    _store_turned_back(grad_qkv + at + step, turned1, turned2, half, turn[0], turn[1], mask)
    weights = tl.trans(weights)
    at += 2 * step
    tl.store(grad_qkv + at, _product(weights, grad1).to(grad_qkv.dtype.element_ty), mask=mask)
    tl.store(grad_qkv + at + half, _product(weights, grad2).to(grad_qkv.dtype.element_ty), mask=mask)


def _grid_and_constants(
    qkv: torch.Tensor, window: int, shift: int
) -> tuple[tuple[int, int, int], dict[str, int]]:
    B, N, _, H, d = qkv.shape
    wide = max(16, triton.next_power_of_2(window))
    # Products take at least 16 channels.
    half = max(16, triton.next_power_of_2(d // 2))
    windows = triton.cdiv(N + (window - shift if shift else 0), window)
    return (windows, H, B), {"WINDOW": wide, "HALF": half, "num_warps": wide // 8}


def _angle_strides(angles: torch.Tensor) -> tuple[int, int]:
    return (0 if angles.shape[0] == 1 else angles.stride(0)), angles.stride(1)


def forward(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    lengths: torch.Tensor,
    window: int,
    shift: int,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """``torch.ops.dnachunk.window_attention``."""
    (qkv, cos, sin), (lengths, bias) = with_dense_rows(qkv, cos, sin), dense(lengths, bias)
    B, N, _, H, d = qkv.shape
    out = qkv.new_empty(B, N, H, d)
    if out.numel():
        grid, constants = _grid_and_constants(qkv, window, shift)
        forward_kernel[grid](
            *(qkv, cos, sin, lengths, bias, out, *strides(qkv, 4)),
            *(*_angle_strides(cos), *_angle_strides(sin), N, H, d // 2, window, shift, d**-0.5), **constants,
        )  # fmt: skip
    return out


def backward(
    grad: torch.Tensor,
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    lengths: torch.Tensor,
    window: int,
    shift: int,
    bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.window_attention_backward``: gradients of ``qkv`` and ``bias``, empty without."""
    (grad, qkv, cos, sin), (lengths, bias) = with_dense_rows(grad, qkv, cos, sin), dense(lengths, bias)
    B, N, _, H, d = qkv.shape
    grad_qkv = qkv.new_empty(qkv.shape)
    grad_bias = None if bias is None else bias.new_empty(H, B, N)
    if qkv.numel():
        grid, constants = _grid_and_constants(qkv, window, shift)
        backward_kernel[grid](
            *(grad, qkv, cos, sin, lengths, bias, grad_qkv, grad_bias, *strides(grad, 3), *strides(qkv, 4)),
            *(*_angle_strides(cos), *_angle_strides(sin), N, H, d // 2, window, shift, d**-0.5), **constants,
        )  # fmt: skip
    return grad_qkv, cos.new_empty(0, 0) if grad_bias is None else grad_bias.sum(dim=0)
