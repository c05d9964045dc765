"""Registration and public function of ``unit_gather``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.unit_gather.naive import unit_gather_naive


def unit_gather(x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Takes rows out of a batch of sequences: ``out[m] = x.flatten(0, 1)[position[m]]``.

    With the bases of units that share a convolution expert one after the other, one call hands every expert
    of MxDNA its own (Sec. 3.2.1).

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        position: ``[M]`` int64 in ``[0, B·N)``; any order, any number of times.

    Returns:
        ``[M, D]`` in the dtype of ``x``.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on a position out of range.

    Note:
        Kernel on CPU; differentiable any number of times. The gradient of a row that occurs more than once is
        summed in float32 (float64 for float64) in the order of ``position``: the same bits for any number of
        threads. On other devices PyTorch's form, of 2 launches: a kernel would save little.

    Example:
        >>> unit_gather(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([3, 0])).flatten()
        tensor([4., 1.])
    """
    op = "unit_gather"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    check_shape(op, "position", position, ("M",))
    check_dtype(op, "position", position, torch.int64)
    check_same_device(op, x=x, position=position)
    if backend_of(op, x, position) == "torch":
        return unit_gather_naive(x, position)
    return torch.ops.dnachunk.unit_gather(x, position)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    del output
    ctx.rows = inputs[0].shape[:2]
    ctx.save_for_backward(inputs[1])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
    return torch.ops.dnachunk.unit_gather_backward(grad, *ctx.saved_tensors, *ctx.rows), None


def _setup_context_of_gradient(
    ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, int, int], output: torch.Tensor
) -> None:
    del output
    ctx.save_for_backward(inputs[1])


def _backward_of_gradient(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
    return torch.ops.dnachunk.unit_gather(grad, *ctx.saved_tensors), None, None, None


register(
    "unit_gather",
    "(Tensor x, Tensor position) -> Tensor",
    cpu=rust.unit_gather_forward,
    fake=lambda x, position: x.new_empty((position.shape[0], x.shape[2])),
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "unit_gather_backward",
    "(Tensor grad, Tensor position, SymInt batch, SymInt length) -> Tensor",
    cpu=rust.unit_gather_backward,
    fake=lambda grad, _position, batch, length: grad.new_empty((batch, length, grad.shape[1])),
    backward=_backward_of_gradient,
    setup_context=_setup_context_of_gradient,
)
