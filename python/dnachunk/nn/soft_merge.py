"""Merging as a continuous relaxation, after DTEM (Lee & Hong 2024), for neighbours in windows.

DTEM lets any token merge with any other and keeps what a token has not given away beside the rest. Here a
candidate gives to its neighbours in the window, as in :func:`dnachunk.ops.neighbor_match`, and positions that
the hard decision merges leave the sequence with whatever they have not given: lengths must fall as they do at
inference.
"""

import torch
import torch.nn.functional as F

from dnachunk.ops._lengths import real_positions
from dnachunk.ops._windows import candidate_edges

_MOST = 0.999
"""What a candidate can give at most: where it stays, it is to have a mass."""
_LEAST = 1e-30
"""Of ``1 − p`` where a candidate has been chosen for certain."""


def _origin(window: int, shift: int) -> int:
    """Where the first window would begin if it were whole."""
    return shift - window if shift else 0


def _in_windows(x: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """``x [B, N, …]`` to ``[B, windows, window, …]``, 0 where there is no position."""
    before = -_origin(window, shift)
    after = -(before + x.shape[1]) % window
    return F.pad(x, (0, 0) * (x.dim() - 2) + (before, after)).unflatten(1, (-1, window))


def _from_windows(x: torch.Tensor, length: int, window: int, shift: int) -> torch.Tensor:
    """Back from :func:`_in_windows`."""
    before = -_origin(window, shift)
    return x.flatten(1, 2)[:, before : before + length]


def distinct(x: torch.Tensor, lengths: torch.Tensor, window: int, shift: int = 0) -> torch.Tensor:
    """What tells the positions of a window apart: their vectors, of equal length, less their mean.

    Args:
        x: ``[B, N, D]``.
        lengths: ``[B]`` int64 real positions.
        window: Positions in a window.
        shift: Positions in the first window if not 0.

    Returns:
        ``[B, N, D]`` in float32 at least, 0 on padding.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    is_real = real_positions(lengths, x.shape[1])[..., None]
    unit = F.rms_norm(wide, (x.shape[2],), eps=1e-6).where(is_real, 0)
    rows, real = (_in_windows(t, window, shift) for t in (unit, is_real.to(wide.dtype)))
    mean = rows.sum(dim=2, keepdim=True) / real.sum(dim=2, keepdim=True).clamp_min(1)
    return _from_windows((rows - mean) * real, x.shape[1], window, shift)


def soft_assignment(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int,
    shift: int,
    temperature: float,
) -> torch.Tensor:
    """How much of itself each candidate gives to the neighbours on its left and right.

    ``a_{ij} = s_i · softmax_j(c_{ij} / τ)`` over the keepers ``j`` beside it. ``s`` are the ``r`` best of the
    window's candidates by successive softmax: ``s = Σ_k w_k p^k`` with ``p^k = softmax((c + Σ_{l<k} log(1 −
    p^l)) / τ)``, ``c`` the better cosine, and ``w_k`` 1 up to ``r``, of which a window has its share
    by its candidates, and its fraction after (the relaxed top-r of Plötz & Roth 2018, which DTEM uses).

    Args:
        scores: ``[B, N]``: cosine of each position and the next.
        lengths: ``[B]`` int64 real positions.
        num_merges: ``[B]`` int64 merges of each sequence.
        window: Positions in a window.
        shift: Positions in the first window if not 0.
        temperature: τ.

    Returns:
        ``[B, N, 2]`` in [0, 1], 0 at keepers and on padding; differentiable in the scores.
    """
    length = scores.shape[1]
    has_left, has_right = candidate_edges(real_positions(lengths, length), window, shift)
    has_edge = torch.stack([has_left, has_right], dim=-1)
    lowest = -1e6
    edges = torch.stack([F.pad(scores, (1, 0))[:, :-1], scores], dim=-1)
    edges = torch.where(has_edge, edges, lowest)

    can_merge = has_left | has_right
    logits, can, share = (
        _in_windows(t, window, shift)
        for t in (edges.amax(dim=-1).where(can_merge, 0), can_merge, can_merge.to(scores.dtype))
    )
    candidates = share.sum(dim=2)
    total = candidates.sum(dim=1, keepdim=True).clamp_min(1)
    budget = num_merges[:, None] * candidates / total
    logits = torch.where(can, logits, lowest)
    given = torch.zeros_like(logits)
    for step in range((window + 1) // 2):
        p = torch.softmax(logits / temperature, dim=-1).where(can, 0)
        given = given + (budget - step).clamp(0, 1)[..., None] * p
        logits = torch.where(can, logits + (1 - p).clamp_min(_LEAST).log(), lowest)
    given = _from_windows(given.clamp_max(_MOST), length, window, shift)
    return torch.where(has_edge, given[..., None] * torch.softmax(edges / temperature, dim=-1), 0)


def soft_merge(
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    window: int,
    shift: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merges by shares: ``M_j = m_j + Σ_i a_{ij} m_i``, ``y_j = (m_j x_j + Σ_i a_{ij} m_i x_i) / M_j``.

    A candidate that the hard decision leaves keeps ``(1 − s_i) m_i``; one that it merges is gone.

    Args:
        x: ``[B, N, D]``.
        mass: ``[B, N]`` float, what each position stands for; 0 on padding.
        assignment: ``[B, N, 2]`` of :func:`soft_assignment`.
        token_index: ``[B, N]`` int64, the hard decision; −1 on padding.
        num_tokens: ``L``, rows of the result.
        window: Positions in a window.
        shift: Positions in the first window if not 0.

    Returns:
        ``[B, L, D]`` in the dtype of ``x`` and their mass ``[B, L]``, 0 on padding.
    """
    wide = x.to(mass.dtype)
    to_left, to_right = (mass * share for share in assignment.unbind(-1))
    kept = mass - to_left - to_right

    def received(values: torch.Tensor, from_right: torch.Tensor, from_left: torch.Tensor) -> torch.Tensor:
        rest = (0, 0) * (values.dim() - 2)
        return values + F.pad(from_right, (*rest, 0, 1))[:, 1:] + F.pad(from_left, (*rest, 1, 0))[:, :-1]

    masses = received(kept, to_left, to_right)
    sums = received(kept[..., None] * wide, to_left[..., None] * wide, to_right[..., None] * wide)
    has_left, has_right = candidate_edges(token_index >= 0, window, shift)
    joins_left = has_left & (token_index == F.pad(token_index, (1, 0))[:, :-1])
    joins_right = has_right & (token_index == F.pad(token_index, (0, 1))[:, 1:])
    is_gone = joins_left | joins_right | (token_index < 0)
    # One slot more takes what is gone.
    slot = torch.where(is_gone, num_tokens, token_index)
    places = torch.arange(x.shape[1], device=x.device).expand_as(slot)
    place = slot.new_zeros(len(x), num_tokens + 1).scatter(1, slot, places)[:, :num_tokens]
    is_token = torch.arange(num_tokens, device=x.device) <= token_index.amax(dim=1, keepdim=True)
    merged_mass = torch.where(is_token, masses.gather(1, place), 0)
    rows = sums.gather(1, place[..., None].expand(-1, -1, x.shape[2]))
    values = rows / torch.where(is_token, merged_mass, 1)[..., None]
    return torch.where(is_token[..., None], values, 0).to(x.dtype), merged_mass
