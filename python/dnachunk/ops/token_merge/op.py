"""Registration and public function of ``token_merge``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import (
    accumulator_dtype,
    check_dtype,
    check_float,
    check_same_device,
    check_shape,
    check_windows,
)
from dnachunk.ops._register import register
from dnachunk.ops.token_merge.naive import token_merge_torch


def token_merge(
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
    """Merges positions into tokens: ``y_t = Σ s_i x_i / S_t`` over the positions ``i`` of token ``t``.

    MergeDNA Sec. 3.3 ("the merger's source positions are assigned to the keeper"; size-weighted as in ToMe).
    With ``scores`` and ``threshold``, the assignment of every candidate edge ``e`` of
    :func:`dnachunk.ops.neighbor_match` enters as ``a = hard + soft − stop_gradient(soft)``,
    ``soft_e = σ((c_e − θ) / τ) · softmax(c / τ)_e`` over the candidate's (at most two) edges: values are
    those of the hard assignment, and the scores learn.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        sizes: ``[B, N]`` int64, bases that each position stands for, at least 1; ignored where
            ``token_index`` is −1.
        token_index: ``[B, N]`` int64 in ``[-1, num_tokens)``: the token of each position; −1 is padding.
        num_tokens: ``L``, tokens of the longest sequence, at least; fixes the shape of the result.
        scores: ``[B, N]``, as given to ``neighbor_match``; float64 for float64 ``x``, else float32.
        threshold: ``[B, N]``, as it returned; needed with ``scores``.
        window: As given to ``neighbor_match``.
        shift: As given to ``neighbor_match``.
        temperature: τ, above 0.

    Returns:
        ``merged [B, L, D]`` in the dtype of ``x`` and ``merged_sizes [B, L]`` int64. A token of one position
        is its copy; a token of none is 0 with size 0.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, ``scores`` without ``threshold`` or the reverse, a temperature that is
            not positive, and on the CPU on an index out of range.

    Note:
        Kernels on CPU and GPU; sums run in float32 (float64 for float64); differentiable once in ``x`` and
        ``scores``; the same bits for any number of threads. With ``scores`` the index must be one that
        ``neighbor_match`` made; without, it need not be monotone.

    Example:
        >>> x = torch.tensor([[[1.0], [5.0], [8.0]]])
        >>> token_merge(x, torch.tensor([[3, 1, 1]]), torch.tensor([[0, 0, 1]]), 2)
        (tensor([[[2.],
                 [8.]]]), tensor([[4, 1]]))
    """
    op = "token_merge"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    positions = tuple(x.shape[:2])
    for name, tensor in (("sizes", sizes), ("token_index", token_index)):
        check_shape(op, name, tensor, positions)
        check_dtype(op, name, tensor, torch.int64)
    if (scores is None) != (threshold is None):
        raise ValueError(f"{op}: scores and threshold must be given together, got one of them")
    if scores is not None and threshold is not None:
        for name, tensor in (("scores", scores), ("threshold", threshold)):
            check_shape(op, name, tensor, positions)
            check_dtype(op, name, tensor, accumulator_dtype(x.dtype))
    check_same_device(op, x=x, sizes=sizes, token_index=token_index, scores=scores, threshold=threshold)
    if not temperature > 0:
        raise ValueError(f"{op}: temperature must be above 0, got {temperature}")
    check_windows(op, window, shift)
    arguments = (x, sizes, token_index, num_tokens, scores, threshold, window, shift, temperature)
    if backend_of(op, x, sizes, token_index, scores, threshold) == "torch":
        return token_merge_torch(*arguments)
    return torch.ops.dnachunk.token_merge(*arguments)


def _fake(
    x: torch.Tensor, sizes: torch.Tensor, _token_index: torch.Tensor, num_tokens: int, *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (x.shape[0], num_tokens)
    return x.new_empty((*shape, x.shape[2])), sizes.new_empty(shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, sizes, token_index, _, scores, threshold, *ctx.windows = inputs
    ctx.save_for_backward(output[1], x, sizes, token_index, scores, threshold)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: torch.Tensor, _grad_sizes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    merged_sizes, x, sizes, token_index, scores, threshold = ctx.saved_tensors
    wants_scores = scores is not None and ctx.needs_input_grad[4]
    grad_x, grad_scores = torch.ops.dnachunk.token_merge_backward(
        grad,
        merged_sizes,
        x,
        sizes,
        token_index,
        scores if wants_scores else None,
        threshold if wants_scores else None,
        *ctx.windows,
    )
    return grad_x, None, None, None, grad_scores if wants_scores else None, None, None, None, None


def _backward_fake(
    _grad: torch.Tensor,
    _merged_sizes: torch.Tensor,
    x: torch.Tensor,
    _sizes: torch.Tensor,
    _token_index: torch.Tensor,
    scores: torch.Tensor | None,
    *_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    grad_scores = x.new_empty((0,) if scores is None else scores.shape, dtype=accumulator_dtype(x.dtype))
    return x.new_empty(x.shape), grad_scores


register(
    "token_merge",
    "(Tensor x, Tensor sizes, Tensor token_index, SymInt num_tokens, Tensor? scores, Tensor? threshold, "
    "int window, int shift, float temperature) -> (Tensor merged, Tensor merged_sizes)",
    cpu=rust.token_merge_forward,
    cuda="dnachunk.ops.token_merge.triton:forward",
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "token_merge_backward",
    "(Tensor grad, Tensor merged_sizes, Tensor x, Tensor sizes, Tensor token_index, "
    "Tensor? scores, Tensor? threshold, int window, int shift, float temperature) -> (Tensor, Tensor)",
    cpu=rust.token_merge_backward,
    cuda="dnachunk.ops.token_merge.triton:backward",
    fake=_backward_fake,
)
