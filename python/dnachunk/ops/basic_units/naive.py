"""The definition of ``basic_units`` in plain PyTorch, and the form for devices without a kernel."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

Decision = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def basic_units_naive(
    scores: torch.Tensor, kernel_sizes: Sequence[int], starts: torch.Tensor, ends: torch.Tensor
) -> Decision:
    """See :func:`dnachunk.ops.basic_units`."""
    batch, length, experts = scores.shape
    token_index = torch.full((batch, length), -1, device=scores.device)
    token_center, token_expert = token_index.clone(), token_index.clone()
    num_tokens = token_index.new_zeros(batch)
    # From the best candidate down; a stable sort leaves ties in order of position, then expert.
    order = scores.detach().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = order.flatten(1).argsort(dim=1, descending=True, stable=True)
    for b, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        owner: dict[int, tuple[int, int]] = {}
        for candidate in order[b].tolist():
            center, expert = divmod(candidate, experts)
            first = center - kernel_sizes[expert] // 2
            unit = range(first, first + kernel_sizes[expert])
            if first >= start and unit.stop <= end and not any(base in owner for base in unit):
                owner.update(dict.fromkeys(unit, (center, expert)))
        tokens: list[tuple[int, int]] = []
        for base in range(start, end):
            token = owner.get(base, (base, -1))
            if not tokens or token != tokens[-1]:
                tokens.append(token)
            token_index[b, base] = len(tokens) - 1
        num_tokens[b] = len(tokens)
        for t, (center, expert) in enumerate(tokens):
            token_center[b, t], token_expert[b, t] = center, expert
    return token_index, num_tokens, token_center, token_expert


def _ordered_keys(scores: torch.Tensor) -> torch.Tensor:
    """Integers that order as scores do, all above their dtype's least."""
    scores = scores.detach().masked_fill(scores.isnan(), -torch.inf) + 0.0
    bits = scores.view(torch.int64 if scores.dtype == torch.float64 else torch.int32)
    return torch.where(bits < 0, bits ^ torch.iinfo(bits.dtype).max, bits)


def basic_units_torch(
    scores: torch.Tensor, kernel_sizes: Sequence[int], starts: torch.Tensor, ends: torch.Tensor
) -> Decision:
    """The same for any device, by rounds: each takes all candidates that outrank everything within reach.

    The host waits for the device once a round. Scores in no order need about ``log N`` rounds; a slope or a
    plateau of scores needs as many as it holds units. Ranges are not read by the host, hence not checked.
    """
    batch, length, experts = scores.shape
    places = torch.arange(length, device=scores.device)
    starts, ends = starts[:, None], ends[:, None]
    in_range = (places >= starts) & (places < ends)
    sizes = torch.tensor(kernel_sizes, dtype=torch.int64, device=scores.device)
    keys = _ordered_keys(scores)
    dead, widest = torch.iinfo(keys.dtype).min, max(kernel_sizes, default=1)
    # The expert of a unit at its first base; the last column is for candidates that are not taken.
    first_expert = torch.full((batch, length + 1), -1, device=scores.device)
    is_covered = ~in_range
    while experts:
        left = torch.where(is_covered, places + 1, 0).cummax(dim=1).values
        right = torch.where(is_covered, places, length).flip(1).cummin(dim=1).values.flip(1)
        room = torch.minimum(2 * (places - left) + 1, 2 * (right - places))
        fits = (sizes <= room[..., None]) & ~is_covered[..., None]
        best, expert = keys.masked_fill(~fits, dead).max(dim=2)
        is_alive = best > dead
        if not is_alive.any():
            break
        around = F.pad(best, (widest, widest), value=dead).unfold(1, widest, 1).amax(dim=2)
        is_taken = is_alive & (best > around[:, :length]) & (best >= around[:, widest + 1 :])
        size = sizes[expert]
        first = torch.where(is_taken, places - size // 2, length)
        first_expert.scatter_(1, first, expert)
        # A unit adds one at its first base and takes it back behind its last.
        steps = torch.zeros_like(first_expert).scatter_(1, first, 1)
        steps.scatter_add_(1, torch.where(is_taken, first + size, length), torch.full_like(first, -1))
        is_covered = is_covered | (steps[:, :length].cumsum(dim=1) > 0)
    expert = first_expert[:, :length]
    begins = in_range & ((expert >= 0) | ~is_covered)
    token_index = torch.where(in_range, begins.cumsum(dim=1) - 1, -1)
    slot = torch.where(begins, token_index, length)
    center = places + torch.where(expert >= 0, sizes[expert] // 2, 0) if experts else places.expand_as(slot)
    token_center, token_expert = (
        torch.full_like(first_expert, -1).scatter_(1, slot, values)[:, :length] for values in (center, expert)
    )
    return token_index, begins.sum(dim=1), token_center, token_expert
