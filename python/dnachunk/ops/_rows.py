"""Rows of zeros around others."""

import torch
import torch.nn.functional as F


def pad_rows(x: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Zeros before and after the rows of ``x [B, N, D]``, of any number of channels.

    Args:
        x: ``[B, N, D]`` of any dtype.
        before: Rows of zeros in front.
        after: Rows of zeros behind.

    Returns:
        ``[B, before + N + after, D]``.
    """
    if not x.shape[2]:
        # torch 2.9 refuses to pad what has a dimension of size 0.
        return x.new_zeros(x.shape[0], before + x.shape[1] + after, 0)
    return F.pad(x, (0, 0, before, after))


__all__ = ["pad_rows"]
