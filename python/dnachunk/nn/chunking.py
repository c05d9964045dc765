"""Learned chunking as in H-Net and DNAChunker: where chunks begin, one vector for each, and back.

A tokenizer that is learned inside somebody's own model::

    >>> from dnachunk import nn as dnn
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encode, self.route = dnn.BiMamba(32), dnn.Router(32)
    ...         self.chunk, self.dechunk = dnn.Chunk(), dnn.Dechunk()
    ...         self.trunk = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True)
    ...
    ...     def forward(self, x):  # x [B, N, 32]
    ...         x = self.encode(x)
    ...         routing = self.route(x)
    ...         chunks = self.chunk(x, routing)  # [B, L, 32], lengths inside
    ...         trunk = self.trunk(chunks.values, src_key_padding_mask=chunks.is_padding)
    ...         return x + self.dechunk(trunk, routing)
    >>> Net()(torch.randn(2, 50, 32)).shape
    torch.Size([2, 50, 32])
"""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dnachunk.nn.start import IdentityLinear
from dnachunk.ops import boundary_routing, chunk_pool, dechunk
from dnachunk.ops._lengths import full_lengths, real_positions
from dnachunk.ops.chunk_pool.op import Pooling
from dnachunk.ops.dechunk.op import BackwardGate


@dataclasses.dataclass(frozen=True)
class Routing:
    """Where the chunks of ``B`` sequences of ``N`` positions begin.

    Attributes:
        boundary_probability: ``[B, N]`` float32, float64 for float64: 1 where forced, 0 on padding.
        is_boundary: ``[B, N]`` bool: whether a chunk begins at the position.
        is_forced: ``[B, N]`` bool: whether the boundary was no free decision.
        token_index: ``[B, N]`` int64 chunk of each position, −1 on padding.
        num_tokens: ``[B]`` int64 chunks.
        lengths: ``[B]`` int64 real positions.
        most_tokens: No sequence of ``N`` positions has more chunks, where that is known without asking the
            device (under a budget); else None.
    """

    boundary_probability: torch.Tensor
    is_boundary: torch.Tensor
    is_forced: torch.Tensor
    token_index: torch.Tensor
    num_tokens: torch.Tensor
    lengths: torch.Tensor
    most_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Chunks:
    """One vector for each chunk of ``B`` sequences.

    Attributes:
        values: ``[B, L, D]``, 0 on padding; ``L`` is the most chunks of a sequence, or under a budget the
            most that one of ``N`` positions could have.
        lengths: ``[B]`` int64 chunks.
    """

    values: torch.Tensor
    lengths: torch.Tensor

    @property
    def is_padding(self) -> torch.Tensor:
        """``[B, L]`` bool, True where there is no chunk, as ``src_key_padding_mask`` wants it."""
        return ~real_positions(self.lengths, self.values.shape[1])


# So that a module which takes or gives them can be exported.
for _value in (Routing, Chunks):
    torch.export.register_dataclass(_value, serialized_type_name=f"dnachunk.nn.{_value.__name__}")


class Router(nn.Module):
    """Decides where chunks begin: where a position's query turns away from the key before it.

    See :func:`dnachunk.ops.boundary_routing`. Query and key start as the positions themselves. It learns
    through the probabilities that :class:`Dechunk` uses, or a loss on them.

    A boundary is where the probability is at least 0.5; or, with a budget, one of exactly ``⌈budget · n⌉``
    places of a sequence of ``n`` positions: the forced ones, then those of the highest probability (compared
    on the operation's grid of 2⁻¹²), the first of equals. Shapes then follow from shapes: nothing waits for
    the device. Weights learned in one way can be read in the other. (The threshold is H-Net's; the budget is
    ours.)

    Args:
        d_model: Channels.
        budget: Chunks per position, in (0, 1]; default the threshold. :meth:`forward` can be given another.

    Raises:
        ValueError: If ``budget`` is out of range.

    Example:
        >>> x = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, -1.0]]])
        >>> Router(2)(x).token_index, Router(2, budget=0.5)(x).token_index
        (tensor([[0, 0, 1, 2]]), tensor([[0, 0, 0, 1]]))
    """

    def __init__(self, d_model: int, budget: float | None = None) -> None:
        super().__init__()
        self.q_proj = IdentityLinear(d_model)
        self.k_proj = IdentityLinear(d_model)
        self.budget = _checked(budget)

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        is_protected: torch.Tensor | None = None,
        budget: float | None = None,
    ) -> Routing:
        """Decides.

        Args:
            x: ``[B, N, d_model]``.
            lengths: ``[B]`` int64 real positions, the others on the right; default all.
            is_protected: ``[B, N]`` bool: positions that are to be chunks of their own; default none. Where a
                budget has no room for all of them, the first are.
            budget: Instead of the module's own.

        Returns:
            The decisions.

        Raises:
            ValueError: If ``budget`` is out of range.
        """
        query, key = self.q_proj(x), self.k_proj(x)
        budget = self.budget if budget is None else _checked(budget)
        if budget is None:
            return _route(query, key, lengths, is_protected)
        return _route_within(query, key, lengths, is_protected, budget)

    def extra_repr(self) -> str:
        """What printing shows."""
        return "" if self.budget is None else f"budget={self.budget}"


def _checked(budget: float | None) -> float | None:
    if budget is not None and not 0 < budget <= 1:
        raise ValueError(f"Router: budget must be in (0, 1], got {budget}")
    return budget


class GridRouter(nn.Module):
    """Begins chunks at fixed places, whatever the sequence: the control for a :class:`Router`.

    Position ``t`` is a boundary where ``⌊α t⌋`` grows. Nothing is learned.

    Args:
        ratio: α in (0, 1], boundaries per position.

    Raises:
        ValueError: If ``ratio`` is out of range.

    Example:
        >>> GridRouter(0.5)(torch.randn(1, 5, 8)).token_index
        tensor([[0, 0, 1, 1, 2]])
    """

    def __init__(self, ratio: float) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"GridRouter: ratio must be in (0, 1], got {ratio}")
        self.ratio = ratio

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        is_protected: torch.Tensor | None = None,
        budget: float | None = None,
    ) -> Routing:
        """As :meth:`Router.forward`, a budget being another ratio; of ``x`` only the shape counts."""
        # In whole numbers, so that every device has the same grid.
        ratio = _checked(budget) or self.ratio
        steps = (torch.arange(x.shape[1] + 1, device=x.device) - 1) * round(ratio * 2**32) >> 32
        key = x.new_ones(*x.shape[:2], 1)
        # A query that points away from its key is a boundary.
        query = torch.where(steps.diff()[:, None] > 0, -key, key)
        return _route(query, key, lengths, is_protected)


def _route(
    query: torch.Tensor, key: torch.Tensor, lengths: torch.Tensor | None, is_protected: torch.Tensor | None
) -> Routing:
    if lengths is None:
        lengths = full_lengths(query)
    return Routing(*boundary_routing(query, key, lengths, is_protected), lengths)


def _within(budget: float, positions: Any) -> Any:
    """``⌈budget · positions⌉`` of a number or a tensor of them, for the decimal that was asked for."""
    return -(-(positions * budget - 1e-9) // 1)


def _route_within(
    query: torch.Tensor,
    key: torch.Tensor,
    lengths: torch.Tensor | None,
    is_protected: torch.Tensor | None,
    budget: float,
) -> Routing:
    if lengths is None:
        lengths = full_lengths(query)
    free, *_ = boundary_routing(query, key, lengths)
    length = query.shape[1]
    is_real = real_positions(lengths, length)
    is_forced = is_real & (torch.arange(length, device=query.device) == 0)
    if is_protected is not None:
        is_forced = is_forced | (is_real & (is_protected | F.pad(is_protected, (1, 0))[:, :-1]))
    # The cosine on its grid, lowest first; forced ones before all, padding behind all, NaN no boundary.
    level = ((0.5 - free.detach()) * 8192).round().nan_to_num(4096.0)
    level = torch.where(is_forced, -8192.0, level).masked_fill(~is_real, 8192.0)
    order = level.argsort(dim=1, stable=True)
    places = torch.arange(length, device=query.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    num_tokens = _within(budget, lengths.double()).long()
    is_boundary = rank < num_tokens[:, None]
    is_forced = is_forced & is_boundary
    token_index = (is_boundary.long().cumsum(dim=1) - 1).masked_fill(~is_real, -1)
    probability = torch.where(is_forced, 1.0, free)
    most = int(_within(budget, length))
    return Routing(probability, is_boundary, is_forced, token_index, num_tokens, lengths, most)


class Chunk(nn.Module):
    """Makes one vector of each chunk.

    Args:
        pooling: ``"mean"`` of its positions, or ``"boundary"``, the vector at its first.

    Raises:
        ValueError: If ``pooling`` is neither.

    Example:
        >>> x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 3.0]]])
        >>> Chunk()(x, Router(2)(x)).values
        tensor([[[2., 0.],
                 [0., 3.]]])
    """

    def __init__(self, pooling: Pooling = "mean") -> None:
        super().__init__()
        if pooling not in ("mean", "boundary"):
            raise ValueError(f"Chunk: pooling must be 'mean' or 'boundary', got {pooling!r}")
        self.pooling: Pooling = pooling

    def forward(self, x: torch.Tensor, routing: Routing) -> Chunks:
        """``x [B, N, D]`` to its chunks.

        Waits for the device, which alone knows how many there are, and there ``torch.compile`` cuts its
        graph, unless ``torch._dynamo.config.capture_scalar_outputs`` is set; neither under a budget.
        """
        most: Any = routing.most_tokens
        if most is None:
            # Unlike int(), what item() gives is a symbol under torch.export.
            most = routing.num_tokens.max().item() if len(routing.num_tokens) else 0
        return Chunks(chunk_pool(x, routing.token_index, most, self.pooling), routing.num_tokens)


class Dechunk(nn.Module):
    """Gives every position the vector of its chunk, smoothed from both sides.

    See :func:`dnachunk.ops.dechunk`.

    Args:
        backward_gate: ``"right"``: from the right, a position is gated by the boundary on its right, which
            makes the whole symmetric under mirroring; ``"left"``: by that on its left.

    Raises:
        ValueError: If ``backward_gate`` is neither.
    """

    def __init__(self, backward_gate: BackwardGate = "right") -> None:
        super().__init__()
        if backward_gate not in ("right", "left"):
            raise ValueError(f"Dechunk: backward_gate must be 'right' or 'left', got {backward_gate!r}")
        self.backward_gate: BackwardGate = backward_gate

    def forward(self, values: torch.Tensor, routing: Routing) -> torch.Tensor:
        """``values [B, L, D]``, a vector for each chunk, to ``[B, N, D]``, 0 on padding."""
        return dechunk(
            values, routing.boundary_probability, routing.is_forced, routing.token_index, self.backward_gate
        )
