"""The definition of ``token_merge``, and its vectorised form for devices without a kernel."""

import itertools

import torch

from dnachunk.ops._check import accumulator_dtype
from dnachunk.ops._windows import candidate_edges


def token_merge_naive(
    x: torch.Tensor,
    sizes: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    scores: torch.Tensor | None = None,
    threshold: torch.Tensor | None = None,
    window: int = 16,
    shift: int = 0,
    temperature: float = 0.1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`dnachunk.ops.token_merge`."""
    batch, length, channels = x.shape
    values = x.to(accumulator_dtype(x.dtype))
    rows, row_sizes = [], []
    for b in range(batch):
        index = token_index[b].tolist()
        real = sum(token >= 0 for token in index)
        cuts = sorted({0, *range(shift or window, real, window), real})
        # Every candidate edge: (candidate, keeper, index of its score).
        edges: list[tuple[int, int, int]] = []
        for start, end in itertools.pairwise(cuts):
            for i in range(start, end, 2):
                edges += [(i, i - 1, i - 1)] * (i > start) + [(i, i + 1, i)] * (i + 1 < end)
        assignment: dict[tuple[int, int], torch.Tensor] = {}
        if scores is not None and threshold is not None:
            for i, keeper, e in edges:
                own = [f for j, _, f in edges if j == i]
                preference = torch.softmax(scores[b, own] / temperature, dim=0)[own.index(e)]
                soft = torch.sigmoid((scores[b, e] - threshold[b, i]) / temperature) * preference
                hard = float(index[i] == index[keeper])
                assignment[i, keeper] = hard + soft - soft.detach()
        for token in range(num_tokens):
            members = [i for i in range(length) if index[i] == token]
            weight = {i: sizes[b, i].to(values.dtype) for i in members}
            for (i, keeper), a in assignment.items():
                if index[keeper] == token:
                    weight[i] = a * sizes[b, i]
            total = torch.stack(list(weight.values())).sum() if weight else None
            mean = sum((w * values[b, i] for i, w in weight.items()), values.new_zeros(channels))
            rows.append(mean if total is None or total == 0 else mean / total)
            row_sizes.append(sum(int(sizes[b, i]) for i in members))
    merged = torch.stack(rows) if rows else values.new_zeros(0, channels) + values.sum() * 0
    merged_sizes = torch.tensor(row_sizes, dtype=torch.int64, device=x.device)
    return merged.view(batch, num_tokens, channels).to(x.dtype), merged_sizes.view(batch, num_tokens)


def token_merge_torch(
    x: torch.Tensor,
    sizes: torch.Tensor,
    token_index: torch.Tensor,
    num_tokens: int,
    scores: torch.Tensor | None,
    threshold: torch.Tensor | None,
    window: int,
    shift: int,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by scattered sums, without a loop over positions."""
    batch, _, channels = x.shape
    dtype = accumulator_dtype(x.dtype)
    # Padding goes to one slot more, which is cut off at the end.
    slot = torch.where(token_index < 0, num_tokens, token_index)
    sizes = torch.where(token_index < 0, 0, sizes)
    merged_sizes = sizes.new_zeros(batch, num_tokens + 1).scatter_add(1, slot, sizes)
    # A quotient of integers would be of torch's default dtype.
    wide_sizes = sizes.to(dtype)
    weight = wide_sizes / merged_sizes.gather(1, slot).clamp_min(1)

    def scatter_sum(values: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        zeros = values.new_zeros(batch, num_tokens + 1, channels)
        return zeros.scatter_add(1, slots[..., None].expand(-1, -1, channels), values)

    merged = scatter_sum(x.to(dtype) * weight[..., None], slot)
    if scores is not None and threshold is not None:
        score = torch.stack([scores.roll(1, dims=1), scores], dim=-1)
        has_edge = torch.stack(candidate_edges(token_index >= 0, window, shift), dim=-1)
        logits = torch.where(has_edge, score / temperature, torch.finfo(score.dtype).min)
        gate = torch.sigmoid((score - threshold[..., None]) / temperature)
        soft = torch.where(has_edge, gate * torch.softmax(logits, dim=-1), 0.0)
        change = (soft - soft.detach()).to(dtype)
        mean = merged.detach()
        for side, shift_by in enumerate((1, -1)):
            keeper_slot = torch.where(has_edge[..., side], slot.roll(shift_by, dims=1), num_tokens)
            share = wide_sizes / merged_sizes.gather(1, keeper_slot).clamp_min(1)
            difference = x.detach() - mean.gather(1, keeper_slot[..., None].expand(-1, -1, channels))
            merged = merged + scatter_sum((change[..., side] * share)[..., None] * difference, keeper_slot)
    return merged[:, :num_tokens].to(x.dtype), merged_sizes[:, :num_tokens]
