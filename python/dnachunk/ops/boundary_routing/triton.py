"""Triton kernels of ``boundary_routing``: what each position decides, then the numbers of the chunks."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides, with_dense_rows
from dnachunk.ops.boundary_routing.naive import EPSILON

# Positions and channels that a program takes at a time, and positions of one that numbers chunks.
POSITIONS, CHANNELS, BLOCK = 16, 128, 1024

# The largest cosine that rounds to 0 in steps of 2⁻¹².
LARGEST_BOUNDARY_COSINE = tl.constexpr(0.5 / 4096)


@triton.jit
def _rows(pointer, stride_n, t, columns, mask):
    at = pointer + t.to(tl.int64)[:, None] * stride_n + columns[None, :]
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@kernel("N")
def decide_kernel(
    query, key, lengths, is_protected, probability, is_boundary, is_forced, inverse_norms,
    q_b, q_n, k_b, k_n, N, D, EPSILON,
    HAS_PROTECTED: tl.constexpr, POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Probability, boundary and force of each position, and the inverse norms of its pair of vectors."""
    b = tl.program_id(1).to(tl.int64)
    t = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    real = clamped_length(lengths, b, N)
    is_real = t < real
    forced = is_real & (t == 0)
    if HAS_PROTECTED:
        own = tl.load(is_protected + b * N + t, mask=is_real, other=0) != 0
        before = tl.load(is_protected + b * N + t - 1, mask=is_real & (t > 0), other=0) != 0
        forced = forced | own | before
    is_free = is_real & ~forced
    squares_q, squares_k = tl.zeros([POSITIONS], tl.float32), tl.zeros([POSITIONS], tl.float32)
    products = tl.zeros([POSITIONS], tl.float32)
    for first in range(0, D, CHANNELS):
        columns = first + tl.arange(0, CHANNELS)
        mask = is_free[:, None] & (columns < D)[None, :]
        q = _rows(query + b * q_b, q_n, t, columns, mask)
        k = _rows(key + b * k_b, k_n, t - 1, columns, mask)
        squares_q += tl.sum(q * q, axis=1)
        squares_k += tl.sum(k * k, axis=1)
        products += tl.sum(q * k, axis=1)
    norm_q, norm_k = tl.sqrt_rn(squares_q), tl.sqrt_rn(squares_k)
    # Padding and forced positions have norms of 0.
    is_zero = (norm_q <= EPSILON) | (norm_k <= EPSILON)
    norm_q, norm_k = tl.where(is_zero, 1.0, norm_q), tl.where(is_zero, 1.0, norm_k)
    cosine = tl.where(is_zero, 1.0, products / (norm_q * norm_k))
    # Comparisons instead of a minimum: what is not a number stays so.
    cosine = tl.where(cosine > 1.0, 1.0, tl.where(cosine < -1.0, -1.0, cosine))
    place = b * N + t
    inside = t < N
    p = tl.where(forced, 1.0, tl.where(is_real, 0.5 * (1.0 - cosine), 0.0))
    tl.store(probability + place, p, mask=inside)
    tl.store(is_boundary + place, forced | (is_free & (cosine <= LARGEST_BOUNDARY_COSINE)), mask=inside)
    tl.store(is_forced + place, forced, mask=inside)
    tl.store(inverse_norms + 2 * place, tl.where(is_zero, 0.0, 1.0 / norm_q), mask=inside)
    tl.store(inverse_norms + 2 * place + 1, tl.where(is_zero, 0.0, 1.0 / norm_k), mask=inside)


@kernel("N")
def number_kernel(is_boundary, lengths, token_index, num_tokens, N, BLOCK: tl.constexpr):
    """The chunk of each position, and how many there are: one program to a sequence."""
    b = tl.program_id(0).to(tl.int64)
    real = clamped_length(lengths, b, N)
    tokens = 0
    for first in range(0, N, BLOCK):
        t = first + tl.arange(0, BLOCK)
        begins = (tl.load(is_boundary + b * N + t, mask=t < real, other=0) != 0).to(tl.int32)
        number = tokens + tl.cumsum(begins, axis=0) - 1
        tokens += tl.sum(begins, axis=0)
        tl.store(token_index + b * N + t, tl.where(t < real, number, -1).to(tl.int64), mask=t < N)
    tl.store(num_tokens + b, tl.cast(tokens, tl.int64))


@triton.jit
def _pair_gradient(grad, probability, inverse_norms, place, mask):
    """``a, c, d`` of a pair: its gradient is ``a k + c q`` for the query, ``a q + d k`` for the key."""
    inverse_q = tl.load(inverse_norms + 2 * place, mask=mask, other=0.0)
    inverse_k = tl.load(inverse_norms + 2 * place + 1, mask=mask, other=0.0)
    cosine = 1.0 - 2.0 * tl.load(probability + place, mask=mask, other=0.0)
    g = -0.5 * tl.load(grad + place, mask=mask, other=0.0)
    return g * inverse_q * inverse_k, -g * cosine * inverse_q * inverse_q, -g * cosine * inverse_k * inverse_k


@kernel("N")
def backward_kernel(
    grad, probability, inverse_norms, query, key, grad_query, grad_key, q_b, q_n, k_b, k_n, N, D,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of a query, from its own pair, and of a key, from the pair of the next position."""
    b = tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside, has_columns = t < N, (columns < D)[None, :]
    for shift in tl.static_range(2):
        # The pair of positions t - 1 and t, then that of t and t + 1.
        pair = t + shift
        place = b * N + pair
        inverse = tl.load(inverse_norms + 2 * place, mask=pair < N, other=0.0)
        has_pair = inverse != 0.0
        across, along_q, along_k = _pair_gradient(grad, probability, inverse_norms, place, has_pair)
        mask = has_pair[:, None] & has_columns
        q = _rows(query + b * q_b, q_n, pair, columns, mask)
        k = _rows(key + b * k_b, k_n, pair - 1, columns, mask)
        at = (b * N + t.to(tl.int64))[:, None] * D + columns[None, :]
        write = inside[:, None] & has_columns
        if shift == 0:
            of_query = tl.where(mask, across[:, None] * k + along_q[:, None] * q, 0.0)
            tl.store(grad_query + at, of_query.to(grad_query.dtype.element_ty), mask=write)
        else:
            of_key = tl.where(mask, across[:, None] * q + along_k[:, None] * k, 0.0)
            tl.store(grad_key + at, of_key.to(grad_key.dtype.element_ty), mask=write)


def forward(
    query: torch.Tensor, key: torch.Tensor, lengths: torch.Tensor, is_protected: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """``torch.ops.dnachunk.boundary_routing``."""
    (query, key), (lengths, is_protected) = with_dense_rows(query, key), dense(lengths, is_protected)
    B, N, D = query.shape
    probability, inverse_norms = (query.new_empty(s, dtype=torch.float32) for s in ((B, N), (B, N, 2)))
    is_boundary, is_forced = (query.new_empty(B, N, dtype=torch.bool) for _ in range(2))
    token_index, num_tokens = (query.new_empty(s, dtype=torch.int64) for s in ((B, N), (B,)))
    if B:
        if N:
            decide_kernel[(triton.cdiv(N, POSITIONS), B)](
                *(query, key, lengths, is_protected, probability, is_boundary, is_forced, inverse_norms),
                *(*strides(query, 2), *strides(key, 2), N, D, EPSILON),
                HAS_PROTECTED=is_protected is not None, POSITIONS=POSITIONS, CHANNELS=CHANNELS,
            )  # fmt: skip
        number_kernel[(B,)](is_boundary, lengths, token_index, num_tokens, N, BLOCK=BLOCK)
    return probability, is_boundary, is_forced, token_index, num_tokens, inverse_norms


def backward(
    grad_probability: torch.Tensor,
    boundary_probability: torch.Tensor,
    inverse_norms: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.boundary_routing_backward``: gradients of ``query`` and ``key``."""
    query, key = with_dense_rows(query, key)
    grad, probability, inverse_norms = dense(grad_probability, boundary_probability, inverse_norms)
    B, N, D = query.shape
    grad_query, grad_key = query.new_empty(query.shape), key.new_empty(key.shape)
    if query.numel():
        backward_kernel[(triton.cdiv(N, POSITIONS), triton.cdiv(D, CHANNELS), B)](
            *(grad, probability, inverse_norms, query, key, grad_query, grad_key),
            *(*strides(query, 2), *strides(key, 2), N, D),
            POSITIONS=POSITIONS, CHANNELS=CHANNELS,
        )  # fmt: skip
    return grad_query, grad_key
