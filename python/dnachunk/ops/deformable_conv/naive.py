"""The definition of ``deformable_conv``, which also serves devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._lengths import real_positions


def deformable_columns_naive(
    x: torch.Tensor, offset: torch.Tensor, modulation: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """``columns[b, i, m] = modulation[b, i, m] · X(i + m − ⌊f/2⌋ + offset[b, i, m])``, ``[B, K, f, D]``."""
    batch, rows, channels = x.shape
    taps = offset.shape[2]
    if x.numel() == 0 or taps == 0:
        return x.new_zeros(batch, rows, taps, channels)
    row = torch.arange(rows, device=x.device)
    is_read = torch.ones(batch, rows, dtype=torch.bool, device=x.device)
    if lengths is not None:
        is_read = real_positions(lengths, rows)
    # No offset reaches further than this, and every whole number up to it fits an integer.
    far = rows + taps
    whole = offset.floor().nan_to_num(nan=far).clamp(-far, far)
    lower = row[:, None] + torch.arange(taps, device=x.device) - taps // 2 + whole.long()
    fraction = (offset - offset.floor()).where(offset.isfinite(), 0)[..., None]
    sequence = torch.arange(batch, device=x.device)[:, None, None]

    def read(index: torch.Tensor) -> torch.Tensor:
        clamped = index.clamp(0, rows - 1)
        is_inside = (index == clamped) & is_read[sequence, clamped] & is_read[:, :, None]
        return x[sequence, clamped].to(offset.dtype).where(is_inside[..., None], 0)

    sample = (1 - fraction) * read(lower) + fraction * read(lower + 1)
    modulation = modulation.where(is_read[:, :, None], 0)
    return (modulation[..., None] * sample).to(x.dtype)


def deformable_conv_naive(
    x: torch.Tensor,
    offset: torch.Tensor,
    modulation: torch.Tensor,
    weight: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.deformable_conv`."""
    columns = deformable_columns_naive(x, offset, modulation, lengths)
    return F.linear(columns.flatten(2), weight.transpose(1, 2).flatten(1))
