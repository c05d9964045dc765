"""Registration and public function of ``chunk_pool``."""

from typing import Any, Literal

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.chunk_pool.naive import chunk_pool_naive

Pooling = Literal["mean", "boundary"]


def chunk_pool(
    x: torch.Tensor, token_index: torch.Tensor, max_tokens: int, pooling: Pooling = "mean"
) -> torch.Tensor:
    """Makes one vector of each chunk.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        token_index: ``[B, N]`` int64: the chunk of each position, ``0, …, 0, 1, …, 1, 2, …`` below
            ``max_tokens``, then −1 on right padding, as :func:`boundary_routing` gives it.
        max_tokens: ``L``, rows of the result, at least the most chunks of a sequence.
        pooling: ``"mean"`` of the chunk's positions (DNAChunker), summed in float32 (float64 for float64), or
            ``"boundary"``, the vector at its first (H-Net).

    Returns:
        ``[B, L, D]`` in the dtype of ``x``; 0 in rows past a sequence's chunks.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape or ``pooling``, and on the CPU on an index that is not as above.

    Note:
        Kernel on CPU; differentiable any number of times; the same bits for any number of threads. Padding is
        not read. On other devices PyTorch's form, of 15 launches: a kernel would save little.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])
        >>> chunk_pool(x, torch.tensor([[0, 1, 1, -1]]), 3).flatten()
        tensor([1., 4., 0.])
    """
    op = "chunk_pool"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    check_shape(op, "token_index", token_index, tuple(x.shape[:2]))
    check_dtype(op, "token_index", token_index, torch.int64)
    check_same_device(op, x=x, token_index=token_index)
    if pooling not in ("mean", "boundary"):
        raise ValueError(f"{op}: pooling must be 'mean' or 'boundary', got {pooling!r}")
    if backend_of(op, x, token_index) == "torch":
        return chunk_pool_naive(x, token_index, max_tokens, pooling)
    return torch.ops.dnachunk.chunk_pool(x, token_index, max_tokens, pooling)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(inputs[1])
    ctx.pooling = inputs[3]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
    return torch.ops.dnachunk.chunk_pool_backward(grad, *ctx.saved_tensors, ctx.pooling), None, None, None


def _adjoint_setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    grad, token_index, ctx.pooling = inputs
    ctx.max_tokens = grad.shape[1]
    ctx.save_for_backward(token_index)


def _adjoint_backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return torch.ops.dnachunk.chunk_pool(grad, *ctx.saved_tensors, ctx.max_tokens, ctx.pooling), None, None


register(
    "chunk_pool",
    "(Tensor x, Tensor token_index, SymInt max_tokens, str pooling) -> Tensor",
    cpu=rust.chunk_pool_forward,
    fake=lambda x, _token_index, max_tokens, _pooling: x.new_empty((x.shape[0], max_tokens, x.shape[2])),
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "chunk_pool_backward",
    "(Tensor grad, Tensor token_index, str pooling) -> Tensor",
    cpu=rust.chunk_pool_backward,
    fake=lambda grad, token_index, _pooling: grad.new_empty((*token_index.shape, grad.shape[2])),
    backward=_adjoint_backward,
    setup_context=_adjoint_setup_context,
)
