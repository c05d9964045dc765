"""Registration and public function of ``neighbor_cosine``."""

import math
from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_float, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.neighbor_cosine.naive import neighbor_cosine_naive


def neighbor_cosine(grouping: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each position with its right neighbour.

    ``scores[b, i] = ⟨g_i, g_{i+1}⟩ / (‖g_i‖ ‖g_{i+1}‖)``; the last column is 0. Norms are clamped from below
    at 1e-8. The score by which MergeDNA groups neighbours (Sec. 3.3, "grouping embedding").

    Args:
        grouping: ``[B, N, G]`` float32, float64, bfloat16 or float16: the grouping embedding.

    Returns:
        ``[B, N]``, float64 for float64 and float32 otherwise, in [-1, 1].

    Raises:
        TypeError: If ``grouping`` is not floating point.
        ValueError: If it is not of rank 3.

    Note:
        Kernel on CPU; differentiable once; the same bits for any number of threads. A zero vector has
        similarity 0 and receives the gradient of its neighbour's direction over 1e-8. On other devices
        PyTorch's form, of 9 launches: a kernel would save little.

    Example:
        >>> neighbor_cosine(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]]]))
        tensor([[0., 1., 0.]])
    """
    check_shape("neighbor_cosine", "grouping", grouping, ("B", "N", "G"))
    check_float("neighbor_cosine", "grouping", grouping)
    if backend_of("neighbor_cosine", grouping) == "torch":
        return neighbor_cosine_naive(grouping)
    return torch.ops.dnachunk.neighbor_cosine(grouping)[0]


def _fake(grouping: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scores = grouping.new_empty(grouping.shape[:2], dtype=accumulator_dtype(grouping.dtype))
    return scores, torch.empty_like(scores)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_scores: torch.Tensor, _grad_norms: torch.Tensor) -> torch.Tensor:
    return torch.ops.dnachunk.neighbor_cosine_backward(grad_scores, *ctx.saved_tensors)


register(
    "neighbor_cosine",
    "(Tensor grouping) -> (Tensor scores, Tensor norms)",
    cpu=rust.neighbor_cosine_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
    # Each position by its neighbour; norms count nothing.
    flops=lambda grouping: 2 * math.prod(grouping),
)
register(
    "neighbor_cosine_backward",
    "(Tensor grad_scores, Tensor scores, Tensor norms, Tensor grouping) -> Tensor",
    cpu=rust.neighbor_cosine_backward,
    fake=lambda _grad_scores, _scores, _norms, grouping: grouping.new_empty(grouping.shape),
    flops=lambda *shapes: 2 * 2 * math.prod(shapes[-1]),
)
