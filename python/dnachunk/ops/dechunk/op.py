"""Registration and public function of ``dechunk``."""

import math
from typing import Any, Literal

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.dechunk.naive import dechunk_torch

BackwardGate = Literal["right", "left"]


def dechunk(
    values: torch.Tensor,
    boundary_probability: torch.Tensor,
    is_forced: torch.Tensor,
    token_index: torch.Tensor,
    backward_gate: BackwardGate = "right",
) -> torch.Tensor:
    """Gives every position the vector of its chunk, smoothed from both sides.

    With ``z̃_t = values[token_index_t]``, never stored, half the sum of the forward
    ``h_t = p_t z̃_t + (1 − p_t) h_{t−1}``, ``z̃`` at the first position, and the backward
    ``h_t = p'_t z̃_t + (1 − p'_t) h_{t+1}``, ``z̃`` at the last real one: DNAChunker's dechunking. Through the
    gates routers learn. It adapts H-Net's, which smooths over chunks before it copies them, from the left
    alone (:class:`dnachunk.nn.CausalDechunk`): there all positions of a chunk get the same, here those inside
    a chunk are gated too, each by its own probability.

    Args:
        values: ``[B, L, D]`` float32, float64, bfloat16 or float16: a vector for each chunk.
        boundary_probability: ``[B, N]`` float32, or float64 beside float64 ``values``. As a gate it is
            clamped to [1e-4, 1 − 1e-4], without gradient outside.
        is_forced: ``[B, N]`` bool: where the gate is exactly 1, without gradient.
        token_index: ``[B, N]`` int64: the chunk of each position, ``0, …, 0, 1, …, 1, 2, …`` below ``L``,
            then −1 on right padding, as :func:`boundary_routing` gives it.
        backward_gate: ``"right"``: ``p'_t = p_{t+1}``, the boundary on the right of ``t``, which makes the
            operation symmetric under mirroring; ``"left"``: ``p'_t = p_t``.

    Returns:
        ``[B, N, D]`` in the dtype of ``values``, 0 on padding.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape or ``backward_gate``, and on the CPU on an index that is not as above.

    Note:
        Kernels on CPU and GPU; recurrences run in float32 (float64 for float64), under autocast too;
        differentiable once, recomputing the states; the same bits for any number of threads. Padding is not
        read.

    Example:
        >>> values = torch.tensor([[[0.0], [4.0]]])
        >>> probability, is_forced = torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([[True, False, False]])
        >>> dechunk(values, probability, is_forced, torch.tensor([[0, 1, 1]])).flatten()
        tensor([1.0000, 3.0000, 3.5000])
    """
    op = "dechunk"
    check_shape(op, "values", values, ("B", "L", "D"))
    check_float(op, "values", values)
    check_shape(op, "token_index", token_index, (values.shape[0], "N"))
    check_dtype(op, "token_index", token_index, torch.int64)
    check_shape(op, "boundary_probability", boundary_probability, tuple(token_index.shape))
    check_dtype(op, "boundary_probability", boundary_probability, accumulator_dtype(values.dtype))
    check_shape(op, "is_forced", is_forced, tuple(token_index.shape))
    check_dtype(op, "is_forced", is_forced, torch.bool)
    tensors = (values, boundary_probability, is_forced, token_index)
    names = ("values", "boundary_probability", "is_forced", "token_index")
    check_same_device(op, **dict(zip(names, tensors, strict=True)))
    if backward_gate not in ("right", "left"):
        raise ValueError(f"{op}: backward_gate must be 'right' or 'left', got {backward_gate!r}")
    if backend_of(op, *tensors) == "torch":
        return dechunk_torch(*tensors, backward_gate)
    return torch.ops.dnachunk.dechunk(*tensors, backward_gate)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:4])
    ctx.backward_gate = inputs[4]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
    grads = torch.ops.dnachunk.dechunk_backward(grad, *ctx.saved_tensors, ctx.backward_gate)
    return *grads, None, None, None


register(
    "dechunk",
    "(Tensor values, Tensor boundary_probability, Tensor is_forced, Tensor token_index, str backward_gate) "
    "-> Tensor",
    cpu=rust.dechunk_forward,
    cuda="dnachunk.ops.dechunk.triton:forward",
    fake=lambda values, _probability, _is_forced, token_index, _gate: values.new_empty(
        (*token_index.shape, values.shape[2])
    ),
    backward=_backward,
    setup_context=_setup_context,
    # From both sides the value and the state before it, each by its weight.
    flops=lambda values, _probability, _is_forced, token_index, _gate: (
        2 * 2 * 2 * math.prod(token_index) * values[2]
    ),
)
register(
    "dechunk_backward",
    "(Tensor grad, Tensor values, Tensor boundary_probability, Tensor is_forced, Tensor token_index, "
    "str backward_gate) -> (Tensor grad_values, Tensor grad_probability)",
    cpu=rust.dechunk_backward,
    cuda="dnachunk.ops.dechunk.triton:backward",
    fake=lambda _grad, values, probability, *_: (
        values.new_empty(values.shape),
        probability.new_empty(probability.shape),
    ),
    # From both sides the states anew, of two products, and the gradients of value, state and weight.
    flops=lambda _grad, values, _probability, _is_forced, token_index, _gate: (
        2 * 2 * 5 * math.prod(token_index) * values[2]
    ),
)
