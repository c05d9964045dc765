"""Windows, and candidates and keepers in them, for the forms without a kernel."""

import torch
import torch.nn.functional as F


def candidate_edges(is_real: torch.Tensor, window: int, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether a position is a candidate with a keeper on its left, and on its right.

    Candidates are the places 0, 2, 4, … of each window, keepers the others; see
    :func:`dnachunk.ops.neighbor_match`.

    Args:
        is_real: ``[B, N]`` bool; padding is on the right.
        window: Positions in a window.
        shift: Positions in the first window if not 0.

    Returns:
        ``[B, N]`` bool both.
    """
    position = torch.arange(is_real.shape[1], device=is_real.device)
    origin = shift - window if shift else 0
    place = position - ((position - origin) // window * window + origin).clamp_min(0)
    is_candidate = is_real & (place % 2 == 0)
    next_is_real = F.pad(is_real, (0, 1))[:, 1:]
    has_right = is_candidate & next_is_real & ((position + 1 - shift) % window != 0)
    return is_candidate & (place > 0), has_right


def in_windows(x: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """``x [B, N, …]`` to ``[B, windows, window, …]``, 0 where there is no position."""
    before = window - shift if shift else 0
    count = -(-(before + x.shape[1]) // window)
    after = count * window - before - x.shape[1]
    return F.pad(x, (0, 0) * (x.dim() - 2) + (before, after)).unflatten(1, (count, window))


def from_windows(x: torch.Tensor, length: int, shift: int) -> torch.Tensor:
    """Back from :func:`in_windows`, for ``length`` positions."""
    before = x.shape[2] - shift if shift else 0
    return x.flatten(1, 2)[:, before : before + length]
