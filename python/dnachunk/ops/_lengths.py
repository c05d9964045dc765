"""Sequences of several lengths in one tensor, padded on the right."""

import torch


def full_lengths(x: torch.Tensor) -> torch.Tensor:
    """The lengths of sequences without padding: ``[B]`` int64, each ``N``, for ``x [B, N, …]``."""
    return torch.full((x.shape[0],), x.shape[1], device=x.device)


def real_positions(lengths: torch.Tensor, length: int) -> torch.Tensor:
    """Which positions are no padding.

    Args:
        lengths: ``[B]`` int64, real positions of each sequence.
        length: Positions of all, ``N``.

    Returns:
        ``[B, N]`` bool, on the device of ``lengths``.
    """
    return torch.arange(length, device=lengths.device) < lengths[:, None]
