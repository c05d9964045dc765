"""Registration and public function of ``token_sum``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.token_sum.naive import token_sum_naive


def token_sum(x: torch.Tensor, token_index: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """Sums the vectors of each token's positions: the adjoint of :func:`~dnachunk.ops.token_unmerge`.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        token_index: ``[B, N]`` int64 in ``[-1, num_tokens)``; positions at −1 count nowhere.
        num_tokens: ``L``.

    Returns:
        ``[B, L, D]`` in the dtype of ``x``; a token of no position is 0.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on an index out of range.

    Note:
        Kernel on CPU, summing in float32 (float64 for float64) in the order of positions; differentiable any
        number of times; the same bits for any number of threads. On other devices PyTorch's form, of few
        launches: a kernel would save little.

    Example:
        >>> token_sum(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[0, 0, 1]]), 2).flatten()
        tensor([3., 4.])
    """
    op = "token_sum"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    check_shape(op, "token_index", token_index, tuple(x.shape[:2]))
    check_dtype(op, "token_index", token_index, torch.int64)
    check_same_device(op, x=x, token_index=token_index)
    if backend_of(op, x, token_index) == "torch":
        return token_sum_naive(x, token_index, num_tokens)
    return torch.ops.dnachunk.token_sum(x, token_index, num_tokens)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, int], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(inputs[1])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return torch.ops.dnachunk.token_unmerge(grad, *ctx.saved_tensors), None, None


register(
    "token_sum",
    "(Tensor x, Tensor token_index, SymInt num_tokens) -> Tensor",
    cpu=rust.token_sum_forward,
    fake=lambda x, _token_index, num_tokens: x.new_empty((x.shape[0], num_tokens, x.shape[2])),
    backward=_backward,
    setup_context=_setup_context,
)
