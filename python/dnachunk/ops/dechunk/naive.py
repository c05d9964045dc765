"""The definition of ``dechunk``, and its blockwise form for devices without a kernel."""

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype, without_autocast
from dnachunk.ops._rows import pad_rows

SMALLEST_GATE = 1e-4

# Positions that one matrix product mixes; of 8, 16, 32 and 64 the fastest on a CPU.
BLOCK = 16


def _gates(
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight of ``z̃_t`` from the left and from the right, 1 on padding."""
    is_real = token_index >= 0
    is_free = is_real & ~is_forced
    is_free[:, :1] = False
    clamped = boundary_probability.clamp(SMALLEST_GATE, 1 - SMALLEST_GATE)
    from_left = torch.where(is_free, clamped, 1.0)
    if backward_gate == "right":
        return from_left, F.pad(from_left, (0, 1), value=1.0)[:, 1:]
    is_last = is_real & ~F.pad(is_real, (0, 1))[:, 1:]
    return from_left, torch.where(is_last, 1.0, from_left)


def _at_positions(values: torch.Tensor, token_index: torch.Tensor) -> torch.Tensor:
    """``z̃ [B, N, D]`` in the accumulator dtype, 0 on padding."""
    padded = pad_rows(values.to(accumulator_dtype(values.dtype)), 0, 1)
    row = torch.where(token_index < 0, values.shape[1], token_index)
    row = row + padded.shape[1] * torch.arange(len(row), device=row.device)[:, None]
    return padded.flatten(0, 1).index_select(0, row.flatten()).view(*token_index.shape, values.shape[2])


def dechunk_naive(
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str = "right",
) -> torch.Tensor:
    """See :func:`dnachunk.ops.dechunk`."""
    gates = _gates(boundary_probability, is_forced, token_index, backward_gate)
    z = _at_positions(values, token_index)
    if not z.shape[1]:
        return z.to(values.dtype)
    rows = z.unbind(dim=1)
    total = torch.zeros_like(z)
    for gate, step in zip(gates, (1, -1), strict=True):
        states = [torch.zeros_like(rows[0])]
        for row, weight in zip(rows[::step], gate[..., None].unbind(dim=1)[::step], strict=True):
            states.append(weight * row + (1 - weight) * states[-1])
        total = total + torch.stack(states[1:][::step], dim=1)
    return (total / 2).to(values.dtype)


def _decays(log_keep: torch.Tensor) -> torch.Tensor:
    """``[..., T]`` to ``[..., T, T]``: what is left at ``t`` of what entered at ``s``, 0 for ``s > t``."""
    size = log_keep.shape[-1]
    lower = torch.ones(size, size, dtype=torch.bool, device=log_keep.device).tril()
    # Each sum is of its own factors alone: a difference of two would cancel.
    sums = log_keep[..., None].expand(*log_keep.shape, size).masked_fill(~lower.tril(-1), 0.0).cumsum(dim=-2)
    return sums.masked_fill(~lower, -torch.inf).exp()


def _scan(log_keep: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """States of ``h_t = exp(log_keep_t) h_{t−1} + inputs_t``: ``[B, N]``, ``[B, N, D]`` to ``[B, N, D]``."""
    length = inputs.shape[1]
    if length <= BLOCK:
        return _decays(log_keep) @ inputs
    missing = -length % BLOCK
    log_keep = F.pad(log_keep, (0, missing)).unflatten(1, (-1, BLOCK))
    local = _decays(log_keep) @ pad_rows(inputs, 0, missing).unflatten(1, (-1, BLOCK))
    entering = pad_rows(_scan(log_keep.sum(dim=-1), local[:, :, -1]), 1, 0)[:, :-1]
    return (local + log_keep.cumsum(dim=-1).exp()[..., None] * entering[:, :, None]).flatten(1, 2)[:, :length]


def dechunk_torch(
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: str,
) -> torch.Tensor:
    """The same by matrix products over blocks of positions, both directions in one."""
    with without_autocast(values.device):
        length = token_index.shape[1]
        missing = -length % BLOCK
        token_index = F.pad(token_index, (0, missing), value=-1)
        gates = _gates(
            F.pad(boundary_probability, (0, missing)),
            F.pad(is_forced, (0, missing)),
            token_index,
            backward_gate,
        )
        z = _at_positions(values, token_index).unflatten(1, (-1, BLOCK))
        # [2, B, blocks, BLOCK]. Mirrored inside its blocks, what comes from the right comes from the left.
        gate = torch.stack(gates).unflatten(2, (-1, BLOCK))
        gate = torch.stack([gate[0], gate[1].flip(-1)])
        is_one = gate == 1
        log_keep = torch.where(is_one, -torch.inf, torch.log1p(-torch.where(is_one, 0.5, gate)))
        weights = _decays(log_keep) * gate[..., None, :]
        from_left, from_right = weights[0], weights[1].flip(-1, -2)
        ends = torch.stack([from_left[..., -1, :], from_right[..., 0, :]], dim=-2) @ z
        left_keep, right_keep = log_keep.sum(dim=-1)
        left_states = _scan(left_keep, ends[:, :, 0])
        right_states = _scan(right_keep.flip(1), ends[:, :, 1].flip(1)).flip(1)
        entering = torch.stack(
            [pad_rows(left_states, 1, 0)[:, :-1], pad_rows(right_states, 0, 1)[:, 1:]], dim=-2
        )
        left_share, right_share = log_keep.cumsum(dim=-1).exp()
        shares = torch.stack([left_share, right_share.flip(-1)], dim=-1)
        result = torch.baddbmm(
            shares.flatten(0, 1) @ entering.flatten(0, 1),
            (from_left + from_right).flatten(0, 1),
            z.flatten(0, 1),
            beta=0.5,
            alpha=0.5,
        )
        return result.unflatten(0, z.shape[:2]).flatten(1, 2)[:, :length].to(values.dtype)
