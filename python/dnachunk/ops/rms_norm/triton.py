"""Triton kernels of ``rms_norm``: a program norms some whole rows.

Backwards a program takes several such blocks, one after another, and leaves their part of the weight's
gradient; the parts are summed in their order, hence the same bits each time.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import dense, kernel, with_dense_rows

# Elements of a block; programs of the backward pass.
ELEMENTS, PROGRAMS = 2048, 512


@kernel("R")
def forward_kernel(x, weight, out, inverse, stride, R, D, epsilon, ROWS: tl.constexpr, WIDE: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.arange(0, WIDE)[None, :]
    mask = (row < R)[:, None] & (column < D)
    values = tl.load(x + row[:, None] * stride + column, mask=mask, other=0.0).to(tl.float32)
    squares = tl.where(row < R, tl.sum(values * values, axis=1), 1.0)
    scale = 1.0 / tl.sqrt_rn(squares / D + epsilon)
    normed = values * scale[:, None] * tl.load(weight + column, mask=column < D, other=0.0)
    tl.store(out + row[:, None] * D + column, normed.to(out.dtype.element_ty), mask=mask)
    tl.store(inverse + row, scale, mask=row < R)


@kernel("R", "span")
def backward_kernel(
    grad, inverse, x, weight, grad_x, parts, grad_stride, stride, R, D, span,
    ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, WIDE)[None, :]
    scales = tl.load(weight + column, mask=column < D, other=0.0)
    part = tl.zeros([WIDE], tl.float32)
    start = tl.program_id(0) * span
    for first in range(start, tl.minimum(start + span, R), ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        mask = (row < R)[:, None] & (column < D)
        values = tl.load(x + row[:, None] * stride + column, mask=mask, other=0.0).to(tl.float32)
        given = tl.load(grad + row[:, None] * grad_stride + column, mask=mask, other=0.0).to(tl.float32)
        scale = tl.load(inverse + row, mask=row < R, other=0.0)[:, None]
        normed = values * scale
        part += tl.sum(given * normed, axis=0)
        given *= scales
        along = tl.sum(given * normed, axis=1)[:, None] / D
        back = (given - normed * along) * scale
        tl.store(grad_x + row[:, None] * D + column, back.to(grad_x.dtype.element_ty), mask=mask)
    tl.store(parts + tl.program_id(0) * D + tl.arange(0, WIDE), part, mask=tl.arange(0, WIDE) < D)


def _block(channels: int) -> tuple[int, int, int]:
    """Rows and columns of a block, and the warps that hold it."""
    wide = triton.next_power_of_2(channels)
    rows = max(1, ELEMENTS // wide)
    return rows, wide, min(16, max(4, rows * wide // 512))


def forward(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.rms_norm``."""
    (x,), (weight,) = with_dense_rows(x), dense(weight)
    R, D = x.shape
    out, inverse = x.new_empty(R, D, dtype=getattr(torch, dtype)), weight.new_empty(R)
    if out.numel():
        rows, wide, warps = _block(D)
        forward_kernel[(triton.cdiv(R, rows),)](
            x, weight, out, inverse, x.stride(0), R, D, epsilon, ROWS=rows, WIDE=wide, num_warps=warps
        )
    return out, inverse


def backward(
    grad: torch.Tensor, inverse: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.rms_norm_backward``."""
    (grad, x), (inverse, weight) = with_dense_rows(grad, x), dense(inverse, weight)
    R, D = x.shape
    grad_x = x.new_empty(R, D)
    if not grad_x.numel():
        return grad_x, torch.zeros_like(weight)
    rows, wide, warps = _block(D)
    span = rows * triton.cdiv(triton.cdiv(R, rows), PROGRAMS)
    parts = weight.new_empty(triton.cdiv(R, span), D)
    backward_kernel[(len(parts),)](
        *(grad, inverse, x, weight, grad_x, parts, grad.stride(0), x.stride(0), R, D, span),
        ROWS=rows, WIDE=wide, num_warps=warps,
    )  # fmt: skip
    return grad_x, parts.sum(dim=0)
