"""MergeDNA's tokenizer layer: score neighbours, match them, merge them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.nn.start import FrozenProjection
from dnachunk.ops import (
    neighbor_cosine,
    neighbor_match,
    soft_assignment,
    soft_merge,
    token_merge,
    window_center,
)
from dnachunk.ops._backend import reads_values
from dnachunk.ops._check import check_shape
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.ops._windows import candidate_edges
from dnachunk.ops.neighbor_match.naive import round_scores

MergeGradient = Literal["soft", "straight_through", "frozen", "none"]
Budget = Literal["window", "sequence"]

Count = TypeVar("Count", int, torch.Tensor)

# Below all scores on the grid; its negative is above them.
_NO_SCORE = -(1 << 20)


@dataclasses.dataclass(frozen=True)
class MergedTokens:
    """What one merging layer makes of its positions.

    Attributes:
        values: ``[B, L, D]`` tokens, 0 on padding.
        sizes: ``[B, L]`` int64 bases per token, 0 on padding.
        lengths: ``[B]`` int64 real tokens.
        token_index: ``[B, N]`` int64 token of each of the layer's positions, −1 on padding.
        mass: ``[B, L]`` float, with ``merge_gradient="soft"``: what tokens are made of in training, in bases,
            as shares of positions; elsewhere their sizes. 0 on padding.
        scores: ``[B, N]`` of neighbours, by which was decided, as
            :func:`~dnachunk.ops.neighbor_match` takes them.
    """

    values: torch.Tensor
    sizes: torch.Tensor
    lengths: torch.Tensor
    token_index: torch.Tensor
    mass: torch.Tensor | None = None
    scores: torch.Tensor | None = None

    @property
    def is_padding(self) -> torch.Tensor:
        """``[B, L]`` bool, True where there is no token, as ``src_key_padding_mask`` wants it."""
        return self.sizes == 0


def _larger(a: Any, b: Any) -> Any:
    # Numbers and tensors alike, so that one formula gives the lengths and the padded shape.
    return torch.maximum(a, b) if isinstance(a, torch.Tensor) else max(a, b)


def _fewest_tokens(length: Any, window: int, shift: int) -> Any:
    """What is left when every candidate merges that has a keeper."""
    left, rest = length, length
    if shift:
        rest = _larger(length - shift, length * 0)
        left = length - _most_merges(length - rest, shift)
    return left - _most_merges(rest, window)


def _most_merges(positions: Any, window: int) -> Any:
    """The candidates of consecutive windows, all but one that is alone in the last."""
    if window == 1:
        return positions * 0
    # A window of odd length has one candidate more than keepers.
    extra = positions // window if window % 2 else 0
    return (positions + (1 + extra)) // 2 - 1 * (positions % window == 1)


def merge_schedule(lengths: Count, keep_ratio: float, window: int, shifts: Sequence[int]) -> list[Count]:
    """How many tokens remain after each merging layer.

    ``L = ⌈keep_ratio · n⌉`` after the last and ``n_l = round_half_up(n (L / n)^(l / layers))`` in between; an
    ``n_l`` that the windows cannot reach from ``n_{l−1}`` is the nearest that they can.

    Args:
        lengths: Real bases ``n``: a number, or an int64 tensor of any shape.
        keep_ratio: In (0, 1].
        window: Positions in a window.
        shifts: Of each layer, positions in the first window if not 0.

    Returns:
        ``n_1, …, n_layers``, as ``lengths`` is. Each is monotone in ``n``: the schedule of a padded length is
        an upper bound for every sequence in it.

    Raises:
        ValueError: If ``keep_ratio`` is out of range or asks for fewer tokens than the layers can leave.
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(f"merge_schedule: keep_ratio must be in (0, 1], got {keep_ratio}")
    layers = len(shifts)
    # 1e-9 forgives the rounding of a ratio such as 0.55, whose product with 100 lies above 55.
    bases: Any = lengths.double() if isinstance(lengths, torch.Tensor) else float(lengths)
    kept = -(-(bases * keep_ratio - 1e-9) // 1)
    bases = _larger(bases, bases * 0 + 1)
    ratio = kept / bases
    if isinstance(lengths, torch.Tensor):
        # Of all layers at once: few launches on a GPU.
        layer = torch.arange(1, layers + 1, device=lengths.device, dtype=torch.float64)
        exact = bases[..., None] * ratio[..., None] ** (layer / layers)
        wanted: Any = (exact + 0.5).floor().long().unbind(-1)
    else:
        wanted = [int((bases * ratio ** (layer / layers) + 0.5) // 1) for layer in range(1, layers + 1)]
    schedule = [lengths]
    for shift, whole in zip(shifts, wanted, strict=True):
        schedule.append(_larger(_fewest_tokens(schedule[-1], window, shift), whole))
    # Windows of two or more that are not shifted always reach half of their positions.
    may_miss = keep_ratio * 2**layers < 1 or window < 2 or any(shifts)
    if may_miss and (not isinstance(lengths, torch.Tensor) or reads_values(lengths)):
        missed = schedule[-1] > kept
        if missed.any() if isinstance(missed, torch.Tensor) else missed:
            raise ValueError(
                f"merge_schedule: keep_ratio must be within reach of {layers} merging layers "
                f"(about 1 token in {2**layers} bases), got {keep_ratio}"
            )
    return schedule[1:]


class TokenMerge(nn.Module):
    """Merges neighbouring positions into exactly as many tokens as asked for (MergeDNA Sec. 3.3).

    Args:
        d_model: Channels.
        window: Positions in a window; only neighbours in one window merge.
        shift: Positions in the first window if not 0.
        group_dim: Channels ``G`` of the grouping embedding.
        budget: ``"window"`` or ``"sequence"``; see :func:`dnachunk.ops.neighbor_match`.
        merge_gradient: ``"none"``: what is compared gets no gradient, and is the caller's metric, or the
            positions themselves; ``"straight_through"``: a grouping embedding ``W_g`` of the positions is
            compared, and learns through soft assignments of the hard decision's edges; ``"frozen"``: ``W_g``
            stays as initialised; ``"soft"``: ``W_g`` of what tells the positions of a window apart
            (:func:`dnachunk.ops.window_center`), which gives them no gradient, and in training everything is
            merged by shares (:func:`dnachunk.ops.soft_assignment`, :func:`dnachunk.ops.soft_merge`).
        temperature: τ of the soft assignments.

    Raises:
        ValueError: If ``merge_gradient`` is none of the four, or ``"soft"`` with another budget than
            ``"window"``.

    Example:
        >>> merge = TokenMerge(8)
        >>> tokens = merge(torch.randn(2, 40, 8), num_tokens=25)
        >>> tokens.values.shape
        torch.Size([2, 25, 8])
    """

    def __init__(
        self,
        d_model: int,
        window: int = 16,
        shift: int = 0,
        group_dim: int = 64,
        budget: Budget = "window",
        merge_gradient: MergeGradient = "none",
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if merge_gradient not in get_args(MergeGradient):
            raise ValueError(
                f"TokenMerge: merge_gradient must be one of {get_args(MergeGradient)}, got {merge_gradient!r}"
            )
        self.window = window
        self.shift = shift
        self.budget: Budget = budget
        if merge_gradient == "soft" and budget != "window":
            raise ValueError(
                f"TokenMerge: budget must be 'window' with merge_gradient='soft', got {budget!r}"
            )
        self.learns = merge_gradient == "straight_through"
        self.is_soft = merge_gradient == "soft"
        self.temperature = temperature
        self.grouping: nn.Module | None = None
        if self.learns or self.is_soft:
            self.grouping = nn.Linear(d_model, group_dim, bias=False)
        elif merge_gradient == "frozen":
            self.grouping = FrozenProjection(d_model, group_dim)

    def forward(
        self,
        x: torch.Tensor,
        num_tokens: torch.Tensor | int,
        *,
        padded_tokens: int | None = None,
        sizes: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        metric: torch.Tensor | None = None,
        mass: torch.Tensor | None = None,
    ) -> MergedTokens:
        """Merges.

        Args:
            x: ``[B, N, d_model]``.
            num_tokens: Tokens to leave in each sequence, ``[B]`` int64 or one number for all.
            padded_tokens: Rows of the result; needed when ``num_tokens`` is a tensor, at least its maximum.
            sizes: ``[B, N]`` int64 bases per position; default 1.
            lengths: ``[B]`` int64 real positions; default all.
            metric: ``[B, N, any]`` vectors to compare, with ``merge_gradient="none"``; default ``x``.
            mass: ``[B, N]`` of the layer before, with ``merge_gradient="soft"``; default ``sizes``.

        Returns:
            The tokens.

        Raises:
            ValueError: If ``padded_tokens`` is missing, ``metric`` is given beside a grouping embedding, or
                ``num_tokens`` is out of reach.
        """
        check_shape("TokenMerge", "x", x, ("B", "N", "d_model"))
        batch, length, _ = x.shape
        if not isinstance(num_tokens, torch.Tensor):
            # Windows out of range are the operation's to refuse.
            is_cut = 0 <= self.shift < self.window
            fewest = _fewest_tokens(length, self.window, self.shift) if is_cut else 0
            is_within = isinstance(num_tokens, int) and num_tokens <= length
            if not is_within or (lengths is None and num_tokens < fewest):
                raise ValueError(
                    f"TokenMerge: num_tokens must be an int from {fewest} to {length} for {length} positions "
                    f"in windows of {self.window}, got {num_tokens!r}"
                )
            padded_tokens = num_tokens if padded_tokens is None else padded_tokens
            num_tokens = torch.full((batch,), num_tokens, device=x.device)
        if lengths is None:
            lengths = full_lengths(x)
        if sizes is None:
            sizes = real_positions(lengths, length).long()
        if padded_tokens is None:
            raise ValueError("TokenMerge: padded_tokens must be given with a tensor num_tokens, got None")
        if self.grouping is None:
            metric = x if metric is None else metric
        elif metric is None and self.is_soft:
            metric = self.grouping(window_center(x, lengths, self.window, self.shift).to(x.dtype))
        elif metric is None:
            metric = self.grouping(x if self.learns else x.detach())
        else:
            raise ValueError("TokenMerge: metric must be None where a grouping embedding is compared")
        scores = neighbor_cosine(metric if self.learns or self.is_soft else metric.detach())
        merges = lengths - num_tokens
        token_index, threshold = neighbor_match(scores, lengths, merges, self.window, self.shift, self.budget)
        if self.is_soft and self.training:
            mass = sizes.to(scores.dtype) if mass is None else mass
            assignment = soft_assignment(scores, lengths, merges, self.window, self.shift, self.temperature)
            values, mass = soft_merge(
                x, mass, assignment, token_index, padded_tokens, self.window, self.shift
            )
            slots = sizes.new_zeros(batch, padded_tokens + 1).scatter_add(1, token_index + 1, sizes)
            return MergedTokens(values, slots[:, 1:], num_tokens, token_index, mass, scores)
        values, merged_sizes = token_merge(
            x,
            sizes,
            token_index,
            padded_tokens,
            scores if self.learns else None,
            threshold if self.learns else None,
            self.window,
            self.shift,
            self.temperature,
        )
        mass = merged_sizes.to(scores.dtype) if self.is_soft else None
        return MergedTokens(values, merged_sizes, num_tokens, token_index, mass, scores)


def tied_candidates(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    token_index: torch.Tensor,
    window: int,
    shift: int = 0,
    budget: Budget = "window",
) -> torch.Tensor:
    """Candidates whose place alone decided whether they merge: what the grid of the scores loses.

    A candidate is tied if its better score, on the grid of 2⁻¹² that
    :func:`~dnachunk.ops.neighbor_match` rounds to, is that of a candidate of its window (of its sequence with
    ``budget="sequence"``) that merged, and that of one that did not.

    Args:
        scores: ``[B, N]`` of neighbours.
        lengths: ``[B]`` int64 real positions.
        token_index: ``[B, N]`` int64, what was decided.
        window: Positions in a window.
        shift: Positions in the first window if not 0.
        budget: As of :func:`~dnachunk.ops.neighbor_match`.

    Returns:
        ``[2]`` int64, on the scores' device without waiting for it: tied candidates, and all that have a
        keeper.
    """
    length = scores.shape[1]
    has_left, has_right = candidate_edges(real_positions(lengths, length), window, shift)
    rounded = round_scores(scores)
    left = torch.where(has_left, F.pad(rounded, (1, 0))[:, :-1], _NO_SCORE)
    right = torch.where(has_right, rounded, _NO_SCORE)
    best = torch.maximum(left, right)
    proposes = has_left | has_right
    # Tokens are contiguous: a candidate merged if it is its keeper's token.
    joins = token_index.diff(dim=1) == 0
    merged = torch.where(left >= right, F.pad(joins, (1, 0)), F.pad(joins, (0, 1))) & proposes
    if budget == "sequence":
        before, after, scope = 0, 0, max(length, 1)
    else:
        before, scope = (window - shift) % window, window
        after = -(before + length) % window

    def in_scopes(values: torch.Tensor, fill: int) -> torch.Tensor:
        return F.pad(values, (before, after), value=fill).unflatten(1, (-1, scope))

    inside = in_scopes(torch.where(merged, best, -_NO_SCORE), -_NO_SCORE).amin(dim=-1, keepdim=True)
    outside = in_scopes(torch.where(proposes & ~merged, best, _NO_SCORE), _NO_SCORE).amax(-1, keepdim=True)
    tied = (in_scopes(best, _NO_SCORE) == inside) & (inside == outside)
    return torch.stack([tied.sum(), proposes.sum()])
