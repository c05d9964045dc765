"""Registration and public function of ``boundary_routing``."""

import math
from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.boundary_routing.naive import boundary_routing_naive


def boundary_routing(
    query: torch.Tensor,
    key: torch.Tensor,
    lengths: torch.Tensor,
    is_protected: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decides where chunks begin: where a position's query turns away from the key before it.

    ``p_t = ½ (1 − cos(q_t, k_{t−1}))``, a boundary where ``p_t ≥ 0.5``, as DNAChunker writes it. H-Net's
    routing compares ``q_{t−1}`` with ``k_t``: the same with query and key given in each other's place. A
    boundary is *forced* at the first real position, at every protected one and at the real one
    right after it, so that a protected position is a chunk of its own.

    Args:
        query: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        key: ``[B, N, D]`` in the dtype of ``query``.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``; padding is on the right.
        is_protected: ``[B, N]`` bool; default none. True on padding means nothing.

    Returns:
        ``boundary_probability [B, N]``, float64 for float64 and float32 otherwise, in [0, 1]: exactly 1,
        without gradient, where forced; 0 on padding. The cosine with a vector no longer than 1e-8 is 1,
        without gradient.
        ``is_boundary [B, N]`` bool: forced, or the cosine rounded (half to even) to multiples of 2⁻¹² is at
        most 0. NaN is no boundary.
        ``is_forced [B, N]`` bool.
        ``token_index [B, N]`` int64: the chunk of each position, from 0, −1 on padding.
        ``num_tokens [B]`` int64: chunks.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on lengths out of range.

    Note:
        Kernels on CPU and GPU; the probability is differentiable once, by the cosine before rounding; the
        same bits for any number of threads. Padding is not read.

    Example:
        >>> x = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, -1.0]]])
        >>> routing = boundary_routing(x, x, torch.tensor([4]))
        >>> routing[0], routing[3]
        (tensor([[1.0000, 0.0000, 0.5000, 1.0000]]), tensor([[0, 0, 1, 2]]))
    """
    op = "boundary_routing"
    check_shape(op, "query", query, ("B", "N", "D"))
    check_float(op, "query", query)
    check_shape(op, "key", key, tuple(query.shape))
    check_dtype(op, "key", key, query.dtype)
    check_shape(op, "lengths", lengths, (query.shape[0],))
    check_dtype(op, "lengths", lengths, torch.int64)
    if is_protected is not None:
        check_shape(op, "is_protected", is_protected, tuple(query.shape[:2]))
        check_dtype(op, "is_protected", is_protected, torch.bool)
    check_same_device(op, query=query, key=key, lengths=lengths, is_protected=is_protected)
    if backend_of(op, query, key, lengths, is_protected) == "torch":
        return boundary_routing_naive(query, key, lengths, is_protected)
    probability, is_boundary, is_forced, token_index, num_tokens, _ = torch.ops.dnachunk.boundary_routing(
        query, key, lengths, is_protected
    )
    return probability, is_boundary, is_forced, token_index, num_tokens


def _fake(
    query: torch.Tensor, _key: torch.Tensor, lengths: torch.Tensor, _is_protected: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    shape, dtype = query.shape[:2], accumulator_dtype(query.dtype)
    return (
        query.new_empty(shape, dtype=dtype),
        query.new_empty(shape, dtype=torch.bool),
        query.new_empty(shape, dtype=torch.bool),
        query.new_empty(shape, dtype=torch.int64),
        torch.empty_like(lengths),
        query.new_empty((*shape, 2), dtype=dtype),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(output[0], output[5], *inputs[:2])
    ctx.mark_non_differentiable(*output[1:])


def _backward(
    ctx: Any, grad_probability: torch.Tensor, *_: object
) -> tuple[torch.Tensor, torch.Tensor, None, None]:
    grads = torch.ops.dnachunk.boundary_routing_backward(grad_probability, *ctx.saved_tensors)
    return *grads, None, None


register(
    "boundary_routing",
    "(Tensor query, Tensor key, Tensor lengths, Tensor? is_protected) -> (Tensor boundary_probability, "
    "Tensor is_boundary, Tensor is_forced, Tensor token_index, Tensor num_tokens, Tensor inverse_norms)",
    cpu=rust.boundary_routing_forward,
    cuda="dnachunk.ops.boundary_routing.triton:forward",
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
    # Each query by the key before it; norms count nothing.
    flops=lambda query, *_: 2 * math.prod(query),
)
register(
    "boundary_routing_backward",
    "(Tensor grad_probability, Tensor boundary_probability, Tensor inverse_norms, Tensor query, Tensor key) "
    "-> (Tensor grad_query, Tensor grad_key)",
    cpu=rust.boundary_routing_backward,
    cuda="dnachunk.ops.boundary_routing.triton:backward",
    fake=lambda _grad, _probability, _inverse_norms, query, key: (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
    ),
    flops=lambda *shapes: 2 * 2 * math.prod(shapes[-1]),
)
