"""Triton kernel of ``rotary``: a program turns some queries or keys of one head, or copies its values."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import kernel, strides, with_dense_rows

# Pairs of channels of a program.
PAIRS = 1024


@kernel("N")
def rotary_kernel(
    qkv, cos, sin, out, q_b, q_n, q_k, q_h, c_b, c_n, s_b, s_n, N, H, half, sign,
    POSITIONS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    kind, head = tl.program_id(1) // H, tl.program_id(1) % H
    p = (tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)).to(tl.int64)
    c = tl.arange(0, HALF)
    mask = (p < N)[:, None] & (c < half)[None, :]
    at = qkv + b * q_b + p[:, None] * q_n + kind * q_k + head * q_h + c[None, :]
    first = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(at + half, mask=mask, other=0.0).to(tl.float32)
    cosine = tl.load(cos + b * c_b + p[:, None] * c_n + c[None, :], mask=mask, other=0.0)
    sine = tl.load(sin + b * s_b + p[:, None] * s_n + c[None, :], mask=mask, other=0.0) * sign
    turned1 = tl.where(kind < 2, first * cosine - second * sine, first)
    turned2 = tl.where(kind < 2, second * cosine + first * sine, second)
    at = out + (((b * N + p[:, None]) * 3 + kind) * H + head) * (2 * half) + c[None, :]
    tl.store(at, turned1.to(out.dtype.element_ty), mask=mask)
    tl.store(at + half, turned2.to(out.dtype.element_ty), mask=mask)


def _turn(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: float) -> torch.Tensor:
    qkv, cos, sin = with_dense_rows(qkv, cos, sin)
    B, N, _, H, d = qkv.shape
    out = qkv.new_empty(qkv.shape)
    if out.numel():
        wide = triton.next_power_of_2(d // 2)
        rows = max(1, PAIRS // wide)
        angles = [(0 if each.shape[0] == 1 else each.stride(0), each.stride(1)) for each in (cos, sin)]
        rotary_kernel[(triton.cdiv(N, rows), 3 * H, B)](
            *(qkv, cos, sin, out, *strides(qkv, 4), *angles[0], *angles[1], N, H, d // 2, sign),
            POSITIONS=rows, HALF=wide,
        )  # fmt: skip
    return out


def forward(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``torch.ops.dnachunk.rotary``."""
    return _turn(qkv, cos, sin, 1.0)


def backward(grad: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``torch.ops.dnachunk.rotary_backward``: turns the other way."""
    return _turn(grad, cos, sin, -1.0)
