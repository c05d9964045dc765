"""The definition of ``soft_merge``, and its vectorised form for devices without a kernel."""

import itertools

import torch
import torch.nn.functional as F

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._rows import pad_rows
from dnachunk.ops._windows import candidate_edges


def soft_merge_naive(
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    window: int = 16,
    shift: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`dnachunk.ops.soft_merge`."""
    batch, _, channels = x.shape
    dtype = accumulator_dtype(x.dtype)
    rows, masses = [], []
    for b in range(batch):
        index = [token for token in token_index[b].tolist() if token >= 0]
        cuts = sorted({0, *range(shift or window, len(index), window), len(index)})
        windows = [range(a, b) for a, b in itertools.pairwise(cuts)]
        joins = {
            i
            for places in windows
            for i in places[::2]
            for keeper in (i - 1, i + 1)
            if keeper in places and index[i] == index[keeper]
        }
        stays = {token: j for j, token in enumerate(index) if j not in joins}
        for token in range(num_tokens):
            if token not in stays:
                rows.append(x.new_zeros(channels, dtype=dtype))
                masses.append(mass.new_zeros(()))
                continue
            j = stays[token]
            weights = {j: mass[b, j] * (1 - assignment[b, j, 0] - assignment[b, j, 1])}
            if j > 0:
                weights[j - 1] = mass[b, j - 1] * assignment[b, j - 1, 1]
            if j + 1 < len(index):
                weights[j + 1] = mass[b, j + 1] * assignment[b, j + 1, 0]
            total = torch.stack(list(weights.values())).sum()
            mean = sum(weight * x[b, i].to(dtype) for i, weight in weights.items()) / total
            rows.append(mean)
            masses.append(total)
    merged = torch.stack(rows) if rows else x.new_zeros(0, channels, dtype=dtype)
    merged_mass = torch.stack(masses) if masses else mass.new_zeros(0)
    return merged.view(batch, num_tokens, channels).to(x.dtype), merged_mass.view(batch, num_tokens)


def soft_merge_torch(
    x: torch.Tensor,
    mass: torch.Tensor,
    assignment: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    window: int,
    shift: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by gathered rows, without a loop over tokens."""
    is_real = token_index >= 0
    wide = x.to(mass.dtype).where(is_real[..., None], 0)
    mass = mass.where(is_real, 0)
    to_left, to_right = (mass * share.where(is_real, 0) for share in assignment.unbind(-1))
    kept = mass - to_left - to_right

    def received(values: torch.Tensor) -> torch.Tensor:
        own, left, right = (share[..., None] * values for share in (kept, to_left, to_right))
        return own + pad_rows(left, 0, 1)[:, 1:] + pad_rows(right, 1, 0)[:, :-1]

    masses, sums = received(torch.ones_like(mass)[..., None])[..., 0], received(wide)
    has_left, has_right = candidate_edges(is_real, window, shift)
    joins_left = has_left & (token_index == F.pad(token_index, (1, 0))[:, :-1])
    joins_right = has_right & (token_index == F.pad(token_index, (0, 1))[:, 1:])
    # One slot more takes what is gone.
    slot = torch.where(joins_left | joins_right | ~is_real, num_tokens, token_index)
    places = torch.arange(x.shape[1], device=x.device).expand_as(slot)
    place = slot.new_full((len(x), num_tokens + 1), -1).scatter(1, slot, places)[:, :num_tokens]
    is_token = place >= 0
    place = place.clamp_min(0)
    merged_mass = torch.where(is_token, masses.gather(1, place), 0)
    rows = sums.gather(1, place[..., None].expand(-1, -1, x.shape[2]))
    values = rows / torch.where(is_token, merged_mass, 1)[..., None]
    return torch.where(is_token[..., None], values, 0).to(x.dtype), merged_mass
