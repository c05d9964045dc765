"""Triton kernel of ``window_center``: a program takes one window, in two passes over its channels."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, kernel, strides, with_dense_rows

# Elements of a window that a program holds at a time.
ELEMENTS = 2048


@kernel("N")
def center_kernel(
    x, lengths, out, x_b, x_n, N, D, window, shift, WINDOW: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    length = clamped_length(lengths, b, N)
    left_end = tl.where(shift > 0, shift - window, 0) + tl.program_id(0) * window
    place = tl.arange(0, WINDOW)
    i = left_end + place
    inside = (place < window) & (i >= 0) & (i < N)
    real = inside & (i < length)
    rows = x + b * x_b + i.to(tl.int64)[:, None] * x_n
    square = tl.zeros([WINDOW], tl.float32)
    for start in range(0, D, CHANNELS):
        columns = start + tl.arange(0, CHANNELS)
        mask = real[:, None] & (columns < D)[None, :]
        row = tl.load(rows + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        square += tl.sum(row * row, axis=1)
    inverse = 1.0 / tl.sqrt(square / D + 1e-6)
    count = tl.maximum(tl.sum(real.to(tl.float32), axis=0), 1.0)
    for start in range(0, D, CHANNELS):
        columns = start + tl.arange(0, CHANNELS)
        mask = real[:, None] & (columns < D)[None, :]
        unit = tl.load(rows + columns[None, :], mask=mask, other=0.0).to(tl.float32) * inverse[:, None]
        mean = tl.sum(unit, axis=0) / count
        at = out + (b * N + i.to(tl.int64))[:, None] * D + columns[None, :]
        value = tl.where(mask, unit - mean[None, :], 0.0)
        tl.store(at, value, mask=inside[:, None] & (columns < D)[None, :])


def forward(x: torch.Tensor, lengths: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """``torch.ops.dnachunk.window_center``."""
    (x,), lengths = with_dense_rows(x), lengths.contiguous()
    B, N, D = x.shape
    out = x.new_empty(x.shape, dtype=torch.float32)
    if x.numel():
        before = window - shift if shift else 0
        wide = triton.next_power_of_2(window)
        center_kernel[(triton.cdiv(before + N, window), B)](
            *(x, lengths, out, *strides(x, 2), N, D, window, shift),
            WINDOW=wide, CHANNELS=max(16, ELEMENTS // wide),
        )  # fmt: skip
    return out
