"""Triton kernels of ``deformable_conv``'s sampling, a tap of a row being an entry: ``[B, K · f]``.

The gradient of a row of ``x`` is gathered from the entries that read it, which are sorted by the row they
read; each is written by one program, hence the same bits each time.
"""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import clamped_length, dense, kernel, strides, with_dense_rows

# Entries and channels that a program takes at a time, and channels of one that gathers a row's gradient.
ENTRIES, CHANNELS, ROW_CHANNELS = 16, 64, 128


@triton.jit
def _real_rows(lengths, b, K, HAS_LENGTHS: tl.constexpr):
    return clamped_length(lengths, b, K) if HAS_LENGTHS else K


@triton.jit
def _sampling(offset, modulation, b, entry, mask, real, K, taps):
    """Of entries: the row below what they read, how far above it, their factor, and whether they are real."""
    row, tap = entry // taps, entry % taps
    mask = mask & (row < real)
    at = b * K * taps + entry
    shift = tl.load(offset + at, mask=mask, other=0.0)
    factor = tl.load(modulation + at, mask=mask, other=0.0)
    # No offset reaches further than this, where there is nothing to read; nor does what is not a number.
    far = (K + taps).to(tl.float32)
    shift = tl.where(shift == shift, tl.minimum(tl.maximum(shift, -far), far), far)
    whole = tl.floor(shift)
    fraction = shift - whole
    return row + tap - taps // 2 + whole.to(tl.int32), fraction, factor, mask


@triton.jit
def _rows(x, x_n, row, is_read, columns, D):
    at = x + row.to(tl.int64)[:, None] * x_n + columns[None, :]
    return tl.load(at, mask=is_read[:, None] & (columns < D)[None, :], other=0.0).to(tl.float32)


@kernel("K")
def columns_kernel(
    x, offset, modulation, lengths, columns_out, x_b, x_n, K, taps, D,
    HAS_LENGTHS: tl.constexpr, ENTRIES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """What each entry reads, times its factor."""
    b = tl.program_id(2).to(tl.int64)
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real = _real_rows(lengths, b, K, HAS_LENGTHS)
    inside = entry < K * taps
    lower, fraction, factor, is_real = _sampling(offset, modulation, b, entry, inside, real, K, taps)
    below = _rows(x + b * x_b, x_n, lower, is_real & (lower >= 0) & (lower < real), columns, D)
    above = _rows(x + b * x_b, x_n, lower + 1, is_real & (lower >= -1) & (lower + 1 < real), columns, D)
    sample = (1.0 - fraction)[:, None] * below + fraction[:, None] * above
    at = columns_out + (b * K * taps + entry)[:, None] * D + columns[None, :]
    sample = tl.where(is_real[:, None], factor[:, None] * sample, 0.0)
    tl.store(at, sample.to(columns_out.dtype.element_ty), mask=inside[:, None] & (columns < D)[None, :])


@kernel("K")
def entries_kernel(
    grad, x, offset, modulation, lengths, grad_offset, grad_modulation, keys, x_b, x_n, K, taps, D,
    HAS_LENGTHS: tl.constexpr, ENTRIES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of offset and modulation; for sorting, 1 + the row below what an entry reads."""
    b = tl.program_id(1).to(tl.int64)
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    real = _real_rows(lengths, b, K, HAS_LENGTHS)
    inside = entry < K * taps
    lower, fraction, factor, is_real = _sampling(offset, modulation, b, entry, inside, real, K, taps)
    reads_below = is_real & (lower >= 0) & (lower < real)
    reads_above = is_real & (lower >= -1) & (lower + 1 < real)
    to_below, to_above = tl.zeros([ENTRIES], tl.float32), tl.zeros([ENTRIES], tl.float32)
    at = b * K * taps + entry
    for first in range(0, D, CHANNELS):
        columns = first + tl.arange(0, CHANNELS)
        mask = is_real[:, None] & (columns < D)[None, :]
        given = tl.load(grad + at[:, None] * D + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        to_below += tl.sum(given * _rows(x + b * x_b, x_n, lower, reads_below, columns, D), axis=1)
        to_above += tl.sum(given * _rows(x + b * x_b, x_n, lower + 1, reads_above, columns, D), axis=1)
    tl.store(grad_modulation + at, (1.0 - fraction) * to_below + fraction * to_above, mask=inside)
    tl.store(grad_offset + at, factor * (to_above - to_below), mask=inside)
    tl.store(keys + at, tl.where(reads_below | reads_above, lower + 1, K + 1), mask=inside)


@kernel("K")
def rows_kernel(
    grad, offset, modulation, lengths, order, bounds, grad_x, K, taps, D,
    HAS_LENGTHS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of a row of ``x``, from the entries that read beside it."""
    row, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real = _real_rows(lengths, b, K, HAS_LENGTHS)
    first, last = tl.load(bounds + b * (K + 2) + row), tl.load(bounds + b * (K + 2) + row + 2)
    last = tl.where(row < real, last, first)
    total = tl.zeros([CHANNELS], tl.float32)
    for i in range(first, last):
        entry = tl.load(order + b * K * taps + i).to(tl.int32)
        lower, fraction, factor, _ = _sampling(offset, modulation, b, entry, entry >= 0, real, K, taps)
        weight = factor * tl.where(lower == row, 1.0 - fraction, fraction)
        given = tl.load(grad + (b * K * taps + entry) * D + columns, mask=columns < D, other=0.0)
        total += weight * given.to(tl.float32)
    tl.store(grad_x + (b * K + row) * D + columns, total.to(grad_x.dtype.element_ty), mask=columns < D)


def forward(
    x: torch.Tensor, offset: torch.Tensor, modulation: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """``torch.ops.dnachunk.deformable_conv``."""
    (x,), (offset, modulation, lengths) = with_dense_rows(x), dense(offset, modulation, lengths)
    (B, K, D), taps = x.shape, offset.shape[2]
    columns = x.new_empty(B, K, taps, D)
    if columns.numel():
        columns_kernel[(triton.cdiv(K * taps, ENTRIES), triton.cdiv(D, CHANNELS), B)](
            *(x, offset, modulation, lengths, columns, *strides(x, 2), K, taps, D),
            HAS_LENGTHS=lengths is not None, ENTRIES=ENTRIES, CHANNELS=CHANNELS,
        )  # fmt: skip
    return columns


def backward(
    grad_columns: torch.Tensor,
    x: torch.Tensor,
    offset: torch.Tensor,
    modulation: torch.Tensor,
    lengths: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``torch.ops.dnachunk.deformable_conv_backward``: gradients of ``x``, ``offset`` and ``modulation``."""
    (x,), (grad, offset, modulation, lengths) = (
        with_dense_rows(x),
        dense(grad_columns, offset, modulation, lengths),
    )
    (B, K, D), taps = x.shape, offset.shape[2]
    if not grad.numel():
        return x.new_zeros(x.shape), torch.zeros_like(offset), torch.zeros_like(modulation)
    grad_x, grad_offset, grad_modulation = x.new_empty(x.shape), *map(torch.empty_like, (offset, modulation))
    keys = offset.new_empty((B, K * taps), dtype=torch.int32)
    entries_kernel[(triton.cdiv(K * taps, ENTRIES), B)](
        *(grad, x, offset, modulation, lengths, grad_offset, grad_modulation, keys, *strides(x, 2)),
        *(K, taps, D),
        HAS_LENGTHS=lengths is not None, ENTRIES=ENTRIES, CHANNELS=CHANNELS,
    )  # fmt: skip
    keys, order = keys.sort(dim=1, stable=True)
    rows = torch.arange(K + 2, dtype=torch.int32, device=x.device).expand(B, -1).contiguous()
    rows_kernel[(K, triton.cdiv(D, ROW_CHANNELS), B)](
        *(grad, offset, modulation, lengths, order, torch.searchsorted(keys, rows), grad_x, K, taps, D),
        HAS_LENGTHS=lengths is not None, CHANNELS=ROW_CHANNELS, num_warps=1,
    )  # fmt: skip
    return grad_x, grad_offset, grad_modulation
