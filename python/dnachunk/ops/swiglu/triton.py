"""Triton kernels of ``swiglu``: a program takes some columns of some rows."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import kernel, with_dense_rows

# Rows and columns of a program.
ROWS, COLUMNS = 4, 256


@triton.jit
def _sigmoid(x):
    """Without a number too large, however far from zero."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@kernel("R")
def forward_kernel(gate_up, out, stride, R, F, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    mask = (row < R) & (column < F)
    gate = tl.load(gate_up + row * stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * stride + F + column, mask=mask, other=0.0).to(tl.float32)
    gated = gate * _sigmoid(gate) * up
    tl.store(out + row * F + column, gated.to(out.dtype.element_ty), mask=mask)


@kernel("R")
def backward_kernel(
    grad, gate_up, grad_gate_up, grad_stride, stride, R, F, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    mask = (row < R) & (column < F)
    given = tl.load(grad + row * grad_stride + column, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(gate_up + row * stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * stride + F + column, mask=mask, other=0.0).to(tl.float32)
    share = _sigmoid(gate)
    to_gate = given * up * share * (1.0 + gate * (1.0 - share))
    to_up = given * gate * share
    at = grad_gate_up + row * (2 * F) + column
    tl.store(at, to_gate.to(grad_gate_up.dtype.element_ty), mask=mask)
    tl.store(at + F, to_up.to(grad_gate_up.dtype.element_ty), mask=mask)


def forward(gate_up: torch.Tensor) -> torch.Tensor:
    """``torch.ops.dnachunk.swiglu``."""
    (gate_up,) = with_dense_rows(gate_up)
    R, F = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(R, F)
    if out.numel():
        forward_kernel[(triton.cdiv(R, ROWS), triton.cdiv(F, COLUMNS))](
            gate_up, out, gate_up.stride(0), R, F, ROWS=ROWS, COLUMNS=COLUMNS
        )
    return out


def backward(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """``torch.ops.dnachunk.swiglu_backward``."""
    grad, gate_up = with_dense_rows(grad, gate_up)
    R, F = grad.shape
    grad_gate_up = gate_up.new_empty(gate_up.shape)
    if grad.numel():
        backward_kernel[(triton.cdiv(R, ROWS), triton.cdiv(F, COLUMNS))](
            *(grad, gate_up, grad_gate_up, grad.stride(0), gate_up.stride(0), R, F),
            ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
    return grad_gate_up
