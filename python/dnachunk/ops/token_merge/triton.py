"""Triton kernels of ``token_merge``: a program gathers the members of one token, in order of position.

Members of a token need not be neighbours, so positions are sorted by their token first. Gradients are
gathered too: each is written by one program, hence the same bits each time.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import dense, kernel, strides, with_dense_rows

# Channels of a program that merges; positions and channels of one that a gradient takes at a time.
CHANNELS, POSITIONS, GRAD_CHANNELS = 128, 16, 64


@triton.jit
def _members(slots, token, N):
    """Where the positions of a token begin and end among all in order of their token: a binary search."""
    first, above = 0, N
    while first < above:
        middle = (first + above) // 2
        is_before = tl.load(slots + middle) < token
        first, above = tl.where(is_before, middle + 1, first), tl.where(is_before, above, middle)
    last = first
    while tl.load(slots + last, mask=last < N, other=-1) == token:
        last += 1
    return first, last


@kernel("N")
def merge_kernel(x, sizes, slots, order, merged, merged_sizes, x_b, x_n, N, L, D, CHANNELS: tl.constexpr):
    """A token's size, and the mean of its members by their sizes."""
    token, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first, last = _members(slots + b * N, token, N)
    size = tl.full([], 0, tl.int64)
    for i in range(first, last):
        size += tl.load(sizes + b * N + tl.load(order + b * N + i))
    total = tl.zeros([CHANNELS], tl.float32)
    for i in range(first, last):
        position = tl.load(order + b * N + i)
        share = tl.load(sizes + b * N + position).to(tl.float32) / tl.maximum(size, 1).to(tl.float32)
        row = tl.load(x + b * x_b + position * x_n + columns, mask=columns < D, other=0.0)
        total += share * row.to(tl.float32)
    at = (b * L + token) * D + columns
    tl.store(merged + at, total.to(merged.dtype.element_ty), mask=columns < D)
    tl.store(merged_sizes + b * L + token, size, mask=tl.program_id(1) == 0)


@kernel("N")
def rows_kernel(
    grad, merged_sizes, sizes, token_index, grad_x, g_b, g_l, N, L, D,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of each position's row: its share of its token's."""
    b = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    token = tl.load(token_index + b * N + i, mask=i < N, other=-1)
    is_member = (token >= 0) & (token < L)
    size = tl.load(sizes + b * N + i, mask=is_member, other=0).to(tl.float32)
    total = tl.load(merged_sizes + b * L + token, mask=is_member, other=1)
    share = size / tl.maximum(total, 1).to(tl.float32)
    mask = is_member[:, None] & (columns < D)[None, :]
    row = tl.load(grad + b * g_b + token[:, None] * g_l + columns[None, :], mask=mask, other=0.0)
    at = grad_x + (b * N + i.to(tl.int64))[:, None] * D + columns[None, :]
    row = row.to(tl.float32) * share[:, None]
    tl.store(at, row.to(grad_x.dtype.element_ty), mask=(i < N)[:, None] & (columns < D)[None, :])


@kernel("N")
def means_kernel(merged_sizes, x, sizes, slots, order, means, x_b, x_n, N, L, D, CHANNELS: tl.constexpr):
    """The means again, before they were rounded."""
    token, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first, last = _members(slots + b * N, token, N)
    size = tl.maximum(tl.load(merged_sizes + b * L + token), 1).to(tl.float32)
    total = tl.zeros([CHANNELS], tl.float32)
    for i in range(first, last):
        position = tl.load(order + b * N + i)
        share = tl.load(sizes + b * N + position).to(tl.float32) / size
        row = tl.load(x + b * x_b + position * x_n + columns, mask=columns < D, other=0.0)
        total += share * row.to(tl.float32)
    tl.store(means + (b * L + token) * D + columns, total, mask=columns < D)


@triton.jit
def _keeper(token_index, merged_sizes, b, place, mask, N, L):
    """The token of a keeper, whether it is one, and its size."""
    token = tl.load(token_index + b * N + place, mask=mask, other=-1)
    is_token = (token >= 0) & (token < L)
    size = tl.load(merged_sizes + b * L + token, mask=is_token, other=1)
    return token, is_token, tl.maximum(size, 1).to(tl.float32)


@triton.jit
def _along(grad, means, token, mask, g_l, row, columns, D):
    """How far rows lie from their keepers' means, in the direction of those tokens' gradients."""
    given = tl.load(grad + token[:, None] * g_l + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    mean = tl.load(means + token[:, None] * D + columns[None, :], mask=mask, other=0.0)
    return tl.sum(given * tl.where(mask, row - mean, 0.0), axis=1)


@kernel("N")
def scores_kernel(
    grad, merged_sizes, x, sizes, token_index, scores, threshold, means, grad_scores,
    g_b, g_l, x_b, x_n, N, L, D, window, shift, temperature,
    POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of both scores of each candidate, through its assignments to its keepers."""
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    is_real = tl.load(token_index + b * N + i, mask=i < N, other=-1) >= 0
    next_is_real = tl.load(token_index + b * N + i + 1, mask=i + 1 < N, other=-1) >= 0
    origin = tl.where(shift > 0, shift - window, 0)
    place = i - tl.maximum((i - origin) // window * window + origin, 0)
    is_candidate = is_real & (place % 2 == 0)
    has_left = is_candidate & (place > 0)
    has_right = is_candidate & next_is_real & ((i + 1 - origin) % window != 0)
    left, left_is_token, left_size = _keeper(token_index, merged_sizes, b, i - 1, has_left, N, L)
    right, right_is_token, right_size = _keeper(token_index, merged_sizes, b, i + 1, has_right, N, L)
    # The gradients of the two assignments.
    to_left, to_right = tl.zeros([POSITIONS], tl.float32), tl.zeros([POSITIONS], tl.float32)
    grad, means = grad + b * g_b, means + b * L * D
    for start in range(0, D, CHANNELS):
        columns = start + tl.arange(0, CHANNELS)
        inside = (columns < D)[None, :]
        at = x + b * x_b + i.to(tl.int64)[:, None] * x_n + columns[None, :]
        row = tl.load(at, mask=is_candidate[:, None] & inside, other=0.0).to(tl.float32)
        to_left += _along(grad, means, left, left_is_token[:, None] & inside, g_l, row, columns, D)
        to_right += _along(grad, means, right, right_is_token[:, None] & inside, g_l, row, columns, D)
    size = tl.load(sizes + b * N + i, mask=is_candidate, other=0).to(tl.float32)
    to_left, to_right = to_left * size / left_size, to_right * size / right_size
    score_left = tl.load(scores + b * N + i - 1, mask=has_left, other=0.0) / temperature
    score_right = tl.load(scores + b * N + i, mask=has_right, other=0.0) / temperature
    level = tl.load(threshold + b * N + i, mask=is_candidate, other=0.0) / temperature
    # A gate times a preference: sigmoids both, where there are two keepers.
    both = has_left & has_right
    prefers_left = tl.where(both, tl.sigmoid(score_left - score_right), 1.0)
    prefers_right = tl.where(both, tl.sigmoid(score_right - score_left), 1.0)
    gate_left, gate_right = tl.sigmoid(score_left - level), tl.sigmoid(score_right - level)
    between = tl.where(both, prefers_left * prefers_right, 0.0)
    exchanged = (to_left * gate_left - to_right * gate_right) * between
    slope_left = to_left * prefers_left * gate_left * (1.0 - gate_left)
    slope_right = to_right * prefers_right * gate_right * (1.0 - gate_right)
    tl.store(grad_scores + b * N + i - 1, (slope_left + exchanged) / temperature, mask=has_left)
    tl.store(grad_scores + b * N + i, (slope_right - exchanged) / temperature, mask=has_right)


def forward(
    x: torch.Tensor,
    sizes: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    scores: torch.Tensor | None,
    threshold: torch.Tensor | None,
    window: int,
    shift: int,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.token_merge``."""
    # Soft assignments give gradients alone.
    del scores, threshold, window, shift, temperature
    (x,), (sizes, token_index) = with_dense_rows(x), dense(sizes, token_index)
    B, N, D = x.shape
    merged, merged_sizes = x.new_empty(B, num_tokens, D), sizes.new_empty(B, num_tokens)
    if merged_sizes.numel():
        slots, order = token_index.sort(dim=1, stable=True)
        # One program at least: sizes do not depend on channels.
        merge_kernel[(num_tokens, max(1, triton.cdiv(D, CHANNELS)), B)](
            *(x, sizes, slots, order, merged, merged_sizes, *strides(x, 2), N, num_tokens, D),
            CHANNELS=CHANNELS, num_warps=1,
        )  # fmt: skip
    return merged, merged_sizes


def backward(
    grad: torch.Tensor,
    merged_sizes: torch.Tensor,
    x: torch.Tensor,
    sizes: torch.Tensor,
    token_index: torch.Tensor,
    scores: torch.Tensor | None,
    threshold: torch.Tensor | None,
    window: int,
    shift: int,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.token_merge_backward``: gradients of ``x`` and ``scores``."""
    grad, x = with_dense_rows(grad, x)
    merged_sizes, sizes, token_index, scores, threshold = dense(
        merged_sizes, sizes, token_index, scores, threshold
    )
    (B, N, D), L = x.shape, grad.shape[1]
    grad_x = x.new_empty(x.shape)
    if x.numel():
        rows_kernel[(triton.cdiv(N, POSITIONS), triton.cdiv(D, GRAD_CHANNELS), B)](
            *(grad, merged_sizes, sizes, token_index, grad_x, *strides(grad, 2), N, L, D),
            POSITIONS=POSITIONS, CHANNELS=GRAD_CHANNELS,
        )  # fmt: skip
    if scores is None or threshold is None:
        return grad_x, x.new_empty(0, dtype=torch.float32)
    grad_scores = torch.zeros_like(scores)
    if x.numel() and L:
        slots, order = token_index.sort(dim=1, stable=True)
        means = scores.new_empty(B, L, D)
        means_kernel[(L, triton.cdiv(D, CHANNELS), B)](
            *(merged_sizes, x, sizes, slots, order, means, *strides(x, 2), N, L, D),
            CHANNELS=CHANNELS, num_warps=1,
        )  # fmt: skip
        scores_kernel[(triton.cdiv(N, POSITIONS), B)](
            *(grad, merged_sizes, x, sizes, token_index, scores, threshold, means, grad_scores),
            *(*strides(grad, 2), *strides(x, 2), N, L, D, window, shift, temperature),
            POSITIONS=POSITIONS, CHANNELS=GRAD_CHANNELS,
        )  # fmt: skip
    return grad_x, grad_scores
