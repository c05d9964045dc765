"""Registration and public function of ``unit_scatter``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.unit_scatter.naive import unit_scatter_naive


def unit_scatter(
    residual: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, position: torch.Tensor
) -> torch.Tensor:
    """Adds weighted vectors to rows of a batch: ``out.flatten(0, 1)[position[m]] += weight[m] · values[m]``.

    Brings the embeddings of MxDNA's units, weighted by their experts' probabilities, to the residual at the
    units' centres (Sec. 3.2.1).

    Args:
        residual: ``[B, N, D]`` float32, float64, bfloat16 or float16; not changed.
        values: ``[M, D]`` in the dtype of ``residual``.
        weight: ``[M]`` float64 beside float64, float32 otherwise.
        position: ``[M]`` int64 in ``[0, B·N)``, no two alike.

    Returns:
        ``[B, N, D]`` in the dtype of ``residual``, each row rounded once.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on a position out of range or given twice.

    Note:
        Kernel on CPU; differentiable once; the same bits for any number of threads. On other devices
        PyTorch's form, of 9 launches: a kernel would save little.

    Example:
        >>> residual, values = torch.zeros(1, 3, 1), torch.tensor([[4.0], [6.0]])
        >>> unit_scatter(residual, values, torch.tensor([0.5, 1.0]), torch.tensor([2, 0])).flatten()
        tensor([6., 0., 2.])
    """
    op = "unit_scatter"
    check_shape(op, "residual", residual, ("B", "N", "D"))
    check_float(op, "residual", residual)
    check_shape(op, "position", position, ("M",))
    check_dtype(op, "position", position, torch.int64)
    check_shape(op, "values", values, (position.shape[0], residual.shape[2]))
    check_dtype(op, "values", values, residual.dtype)
    check_shape(op, "weight", weight, position.shape)
    check_dtype(op, "weight", weight, accumulator_dtype(residual.dtype))
    check_same_device(op, residual=residual, values=values, weight=weight, position=position)
    if backend_of(op, residual, values, weight, position) == "torch":
        return unit_scatter_naive(residual, values, weight, position)
    return torch.ops.dnachunk.unit_scatter(residual, values, weight, position)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[1:])


def _backward(
    ctx: Any, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, None]:
    grad_values = grad_weight = None
    if any(ctx.needs_input_grad[1:3]):
        grad_values, grad_weight = torch.ops.dnachunk.unit_scatter_backward(grad, *ctx.saved_tensors)
    return grad, grad_values, grad_weight, None


register(
    "unit_scatter",
    "(Tensor residual, Tensor values, Tensor weight, Tensor position) -> Tensor",
    cpu=rust.unit_scatter_forward,
    fake=lambda residual, _values, _weight, _position: torch.empty_like(
        residual, memory_format=torch.contiguous_format
    ),
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "unit_scatter_backward",
    "(Tensor grad, Tensor values, Tensor weight, Tensor position)"
    " -> (Tensor grad_values, Tensor grad_weight)",
    cpu=rust.unit_scatter_backward,
    fake=lambda _grad, values, weight, _position: (
        values.new_empty(values.shape),
        weight.new_empty(weight.shape),
    ),
)
