"""Registration and public function of ``token_unmerge``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.token_unmerge.naive import token_unmerge_naive


def token_unmerge(x: torch.Tensor, token_index: torch.Tensor) -> torch.Tensor:
    """Gives every position the vector of its token: ``out[b, i] = x[b, token_index[b, i]]``.

    MergeDNA Sec. 3.2, the unmerge ``Z̄_N = Sᵀ Ẑ_L`` without the matrix. Its gradient is
    :func:`~dnachunk.ops.token_sum`.

    Args:
        x: ``[B, L, D]`` float32, float64, bfloat16 or float16.
        token_index: ``[B, N]`` int64 in ``[-1, L)``; the result is 0 at −1. Need not be monotone.

    Returns:
        ``[B, N, D]`` in the dtype of ``x``.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on an index out of range.

    Note:
        Kernel on CPU; differentiable any number of times; the same bits for any number of threads. On other
        devices PyTorch's form, of 4 launches: a kernel would save little.

    Example:
        >>> token_unmerge(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0, 0, 1, -1]])).flatten()
        tensor([1., 1., 2., 0.])
    """
    op = "token_unmerge"
    check_shape(op, "x", x, ("B", "L", "D"))
    check_float(op, "x", x)
    check_shape(op, "token_index", token_index, (x.shape[0], "N"))
    check_dtype(op, "token_index", token_index, torch.int64)
    check_same_device(op, x=x, token_index=token_index)
    if backend_of(op, x, token_index) == "torch":
        return token_unmerge_naive(x, token_index)
    return torch.ops.dnachunk.token_unmerge(x, token_index)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    del output
    ctx.num_tokens = inputs[0].shape[1]
    ctx.save_for_backward(inputs[1])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
    return torch.ops.dnachunk.token_sum(grad, *ctx.saved_tensors, ctx.num_tokens), None


register(
    "token_unmerge",
    "(Tensor x, Tensor token_index) -> Tensor",
    cpu=rust.token_unmerge_forward,
    fake=lambda x, token_index: x.new_empty((*token_index.shape, x.shape[2])),
    backward=_backward,
    setup_context=_setup_context,
)
