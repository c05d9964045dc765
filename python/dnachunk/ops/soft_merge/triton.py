"""Triton kernels of ``soft_merge``: a program takes some tokens or positions and some channels.

Gradients are gathered: each is written by one program, hence the same bits each time.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import dense, kernel, strides, with_dense_rows

# Positions of a program that looks for those that stay; tokens or positions, and channels, of the others.
BLOCK, ROWS, CHANNELS = 256, 16, 64


@triton.jit
def _token_of(token_index, i, N):
    return tl.load(token_index + i, mask=(i >= 0) & (i < N), other=-1)


@triton.jit
def _stays(token_index, i, N, L, window, shift):
    """The tokens of positions, and which positions stay: the keeper, or the only one."""
    token = _token_of(token_index, i, N)
    origin = tl.where(shift > 0, shift - window, 0)
    place = i - tl.maximum((i - origin) // window * window + origin, 0)
    joins_left = (place > 0) & (_token_of(token_index, i - 1, N) == token)
    joins_right = ((i + 1 - origin) % window != 0) & (_token_of(token_index, i + 1, N) == token)
    joins = (place % 2 == 0) & (joins_left | joins_right)
    return token, (token >= 0) & (token < L) & ~joins


@triton.jit
def _weights(mass, assignment, token_index, i, mask, N):
    """Parts of their sum that positions have from the left, of themselves and from the right; the sum."""
    has_left, has_right = mask & (i > 0), mask & (_token_of(token_index, i + 1, N) >= 0)
    shares = tl.load(assignment + 2 * i, mask=mask, other=0.0)
    shares += tl.load(assignment + 2 * i + 1, mask=mask, other=0.0)
    own = tl.load(mass + i, mask=mask, other=1.0) * (1.0 - shares)
    left = tl.load(mass + i - 1, mask=has_left, other=0.0)
    left *= tl.load(assignment + 2 * i - 1, mask=has_left, other=0.0)
    right = tl.load(mass + i + 1, mask=has_right, other=0.0)
    right *= tl.load(assignment + 2 * i + 2, mask=has_right, other=0.0)
    total = left + own + right
    return left / total, own / total, right / total, total


@triton.jit
def _row(x, x_n, i, columns, mask):
    at = x + i.to(tl.int64)[:, None] * x_n + columns[None, :]
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@kernel("N", "L")
def places_kernel(token_index, places, N, L, window, shift, BLOCK: tl.constexpr):
    """Where each token's position that stays is."""
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    token, stays = _stays(token_index + b * N, i, N, L, window, shift)
    tl.store(places + b * L + token, i, mask=stays)


@kernel("N", "L")
def merge_kernel(
    x, mass, assignment, token_index, places, merged, merged_mass, x_b, x_n, N, L, D,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    i = tl.load(places + b * L + token, mask=token < L, other=-1)
    left, own, right, total = _weights(
        mass + b * N, assignment + b * N * 2, token_index + b * N, i, i >= 0, N
    )
    x += b * x_b
    inside = (columns < D)[None, :]
    # What gives nothing is not looked at.
    value = own[:, None] * _row(x, x_n, i, columns, (i >= 0)[:, None] & inside)
    value += left[:, None] * _row(x, x_n, i - 1, columns, (left != 0.0)[:, None] & inside)
    value += right[:, None] * _row(x, x_n, i + 1, columns, (right != 0.0)[:, None] & inside)
    at = merged + (b * L + token.to(tl.int64))[:, None] * D + columns[None, :]
    tl.store(at, value.to(merged.dtype.element_ty), mask=(token < L)[:, None] & inside)
    if tl.program_id(1) == 0:
        tl.store(merged_mass + b * L + token, tl.where(i >= 0, total, 0.0), mask=token < L)


@kernel("N", "L")
def slopes_kernel(
    grad, grad_mass, x, mass, assignment, token_index, slopes, parts, g_b, g_l, x_b, x_n, N, L, D,
    window, shift, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Of each position that stays: the gradients of its three weights, and its token's parts of rows."""
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token_index += b * N
    token, stays = _stays(token_index, i, N, L, window, shift)
    left, own, right, total = _weights(mass + b * N, assignment + b * N * 2, token_index, i, stays, N)
    has_left, has_right = stays & (i > 0), stays & (_token_of(token_index, i + 1, N) >= 0)
    from_left, from_right = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for start in range(0, D, CHANNELS):
        columns = start + tl.arange(0, CHANNELS)
        inside = (columns < D)[None, :]
        given = _row(grad + b * g_b, g_l, token, columns, stays[:, None] & inside)
        row = _row(x + b * x_b, x_n, i, columns, stays[:, None] & inside)
        # Differences of rows: of like neighbours a rounded mean would leave little.
        mask = has_left[:, None] & inside
        other = _row(x + b * x_b, x_n, i - 1, columns, mask)
        from_left += tl.sum(given * tl.where(mask, other - row, 0.0), axis=1)
        mask = has_right[:, None] & inside
        other = _row(x + b * x_b, x_n, i + 1, columns, mask)
        from_right += tl.sum(given * tl.where(mask, other - row, 0.0), axis=1)
    mean = left * from_left + right * from_right
    of_mass = tl.load(grad_mass + b * L + token, mask=stays, other=0.0)
    at = (b * N + i) * 3
    tl.store(slopes + at, tl.where(stays, (from_left - mean) / total + of_mass, 0.0), mask=i < N)
    tl.store(slopes + at + 1, tl.where(stays, of_mass - mean / total, 0.0), mask=i < N)
    tl.store(slopes + at + 2, tl.where(stays, (from_right - mean) / total + of_mass, 0.0), mask=i < N)
    tl.store(parts + at, tl.where(stays, left, 0.0), mask=i < N)
    tl.store(parts + at + 1, tl.where(stays, own, 0.0), mask=i < N)
    tl.store(parts + at + 2, tl.where(stays, right, 0.0), mask=i < N)


@triton.jit
def _of_neighbours(values, i, N):
    """What positions get from the token on their left, their own and the one on their right."""
    left = tl.load(values + 3 * i - 1, mask=(i > 0) & (i < N), other=0.0)
    own = tl.load(values + 3 * i + 1, mask=i < N, other=0.0)
    return left, own, tl.load(values + 3 * i + 3, mask=i + 1 < N, other=0.0)


@kernel("N", "L")
def gradients_kernel(
    grad, mass, assignment, token_index, slopes, parts, grad_x, grad_of_mass, grad_assignment,
    g_b, g_l, N, L, D, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (columns < D)[None, :]
    grad += b * g_b
    token_index += b * N
    token = _token_of(token_index, i, N)
    left, own, right = _of_neighbours(parts + b * N * 3, i, N)
    value = own[:, None] * _row(grad, g_l, token, columns, (own != 0.0)[:, None] & inside)
    before, after = _token_of(token_index, i - 1, N), _token_of(token_index, i + 1, N)
    value += left[:, None] * _row(grad, g_l, before, columns, (left != 0.0)[:, None] & inside)
    value += right[:, None] * _row(grad, g_l, after, columns, (right != 0.0)[:, None] & inside)
    at = grad_x + (b * N + i.to(tl.int64))[:, None] * D + columns[None, :]
    tl.store(at, value.to(grad_x.dtype.element_ty), mask=(i < N)[:, None] & inside)

    if tl.program_id(1) == 0:
        left, own, right = _of_neighbours(slopes + b * N * 3, i, N)
        place = (b * N + i) * 2
        to_left = tl.load(assignment + place, mask=token >= 0, other=0.0)
        to_right = tl.load(assignment + place + 1, mask=token >= 0, other=0.0)
        own_mass = tl.load(mass + b * N + i, mask=token >= 0, other=0.0)
        of_mass = (1.0 - to_left - to_right) * own + to_left * left + to_right * right
        tl.store(grad_of_mass + b * N + i, tl.where(token >= 0, of_mass, 0.0), mask=i < N)
        tl.store(grad_assignment + place, own_mass * (left - own), mask=i < N)
        tl.store(grad_assignment + place + 1, own_mass * (right - own), mask=i < N)


def forward(
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    window: int,
    shift: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.soft_merge``."""
    (x,), (mass, assignment, token_index) = with_dense_rows(x), dense(mass, assignment, token_index)
    B, N, D = x.shape
    merged, merged_mass = x.new_empty(B, num_tokens, D), mass.new_empty(B, num_tokens)
    if merged_mass.numel():
        places = token_index.new_full((B, num_tokens), -1, dtype=torch.int32)
        if N:
            places_kernel[(triton.cdiv(N, BLOCK), B)](
                token_index, places, N, num_tokens, window, shift, BLOCK=BLOCK
            )
        # One program at least: masses do not depend on channels.
        merge_kernel[(triton.cdiv(num_tokens, ROWS), max(1, triton.cdiv(D, CHANNELS)), B)](
            *(x, mass, assignment, token_index, places, merged, merged_mass, *strides(x, 2)),
            *(N, num_tokens, D),
            ROWS=ROWS, CHANNELS=CHANNELS,
        )  # fmt: skip
    return merged, merged_mass


def backward(
    grad: torch.Tensor,
    grad_mass: torch.Tensor,
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    window: int,
    shift: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.soft_merge_backward``."""
    grad, x = with_dense_rows(grad, x)
    grad_mass, mass, assignment, token_index = dense(grad_mass, mass, assignment, token_index)
    (B, N, D), L = x.shape, grad.shape[1]
    grad_x, grad_of_mass = x.new_empty(x.shape), mass.new_empty(mass.shape)
    grad_assignment = assignment.new_empty(assignment.shape)
    if grad_of_mass.numel():
        slopes, parts = mass.new_empty(2, B, N, 3)
        slopes_kernel[(triton.cdiv(N, ROWS), B)](
            *(grad, grad_mass, x, mass, assignment, token_index, slopes, parts),
            *(*strides(grad, 2), *strides(x, 2), N, L, D, window, shift),
            ROWS=ROWS, CHANNELS=CHANNELS,
        )  # fmt: skip
        gradients_kernel[(triton.cdiv(N, ROWS), max(1, triton.cdiv(D, CHANNELS)), B)](
            *(grad, mass, assignment, token_index, slopes, parts, grad_x, grad_of_mass, grad_assignment),
            *(*strides(grad, 2), N, L, D),
            ROWS=ROWS, CHANNELS=CHANNELS,
        )  # fmt: skip
    return grad_x, grad_of_mass, grad_assignment
