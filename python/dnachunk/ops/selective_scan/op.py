"""Registration and public function of ``selective_scan``."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._lengths import full_lengths
from dnachunk.ops._register import register
from dnachunk.ops.selective_scan.naive import selective_scan_torch

# Steps between stored states; `BLOCK` in Rust.
_BLOCK = 64


def selective_scan(
    x: torch.Tensor,
    delta: torch.Tensor,
    state_matrix: torch.Tensor,
    input_matrix: torch.Tensor,
    output_matrix: torch.Tensor,
    skip: torch.Tensor,
    gate: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    reverse: bool = False,
) -> torch.Tensor:
    """Selective state space of Mamba (Gu & Dao 2023, Algorithm 2), with its skip and its gate.

    With ``Δ_t = softplus(delta_t + delta_bias)``, every channel has ``S`` states
    ``h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t`` from ``h = 0``, and gives
    ``(⟨C_t, h_t⟩ + skip x_t) silu(gate_t)``. In reverse the recurrence runs from the last real position to
    the first: as flipping the real positions of each sequence, scanning and flipping back, bit for bit.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        delta: ``[B, N, D]`` in the dtype of ``x``: the steps before bias and softplus.
        state_matrix: ``A [D, S]`` of any floating-point dtype, at most 0.
        input_matrix: ``B [B, N, S]`` in the dtype of ``x``.
        output_matrix: ``C [B, N, S]`` in the dtype of ``x``.
        skip: ``[D]`` of any floating-point dtype.
        gate: ``[B, N, D]`` in the dtype of ``x``; without it nothing is gated.
        delta_bias: ``[D]`` of any floating-point dtype; default 0.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``; default all.
        reverse: See above.

    Returns:
        ``[B, N, D]`` in the dtype of ``x``; 0 from ``lengths[b]`` on, where nothing is read and gradients are
        0.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape or device, and from the kernel on a positive element of ``state_matrix``
            or a length out of range (the PyTorch form reads neither back).

    Note:
        Kernels on CPU and GPU, which read ``[B, N, …]`` arguments without a copy where the last dimension is
        contiguous, as in parts of a packed projection. Steps, states, skip and gate run in float32 (float64
        for float64) whatever the dtype of ``x``, the result is rounded once. The backward pass computes the
        states anew from those it stored before every 64th step: memory is linear in ``N``, a quarter of that
        of float32 ``x`` at ``S = 16``. Differentiable once; the same bits for any number of threads.

    Example:
        >>> ones = torch.ones(1, 3, 1)
        >>> x = torch.tensor([[[1.0], [2.0], [4.0]]])
        >>> sums = selective_scan(x, 100 * ones, torch.zeros(1, 1), ones, ones, torch.zeros(1))
        >>> sums[0, :, 0]  # without decay, with steps of 100
        tensor([100., 300., 700.])
    """
    op = "selective_scan"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    batch, length, channels = x.shape
    check_shape(op, "state_matrix", state_matrix, (channels, "S"))
    states = state_matrix.shape[1]
    rows = {"delta": delta, "input_matrix": input_matrix, "output_matrix": output_matrix, "gate": gate}
    for name, tensor in rows.items():
        if tensor is not None:
            width = states if name.endswith("matrix") else channels
            check_shape(op, name, tensor, (batch, length, width))
            check_dtype(op, name, tensor, x.dtype)
    for name, tensor in (("skip", skip), ("delta_bias", delta_bias)):
        if tensor is not None:
            check_shape(op, name, tensor, (channels,))
            check_float(op, name, tensor)
    check_float(op, "state_matrix", state_matrix)
    if lengths is None:
        lengths = full_lengths(x)
    check_shape(op, "lengths", lengths, (batch,))
    check_dtype(op, "lengths", lengths, torch.int64)
    tensors = rows | {"x": x, "state_matrix": state_matrix, "skip": skip, "delta_bias": delta_bias}
    check_same_device(op, **tensors, lengths=lengths)
    if backend_of(op, *tensors.values(), lengths) == "torch":
        return selective_scan_torch(
            *(x, delta, state_matrix, input_matrix, output_matrix),
            *(skip, gate, delta_bias, lengths, reverse),
        )
    dtype = accumulator_dtype(x.dtype)
    bias = None if delta_bias is None else delta_bias.to(dtype)
    return torch.ops.dnachunk.selective_scan(
        *(x, delta, state_matrix.to(dtype), input_matrix, output_matrix),
        *(skip.to(dtype), gate, bias, lengths, reverse),
    )[0]


def _fake(x: torch.Tensor, _delta: torch.Tensor, matrix: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    batch, length, channels = x.shape
    states = matrix.new_empty(batch, (length + _BLOCK - 1) // _BLOCK, matrix.shape[1], channels)
    return x.new_empty(x.shape), states


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: torch.Tensor, _grad_states: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # Read once: checkpointing unpacks what is saved a single time.
    saved = ctx.saved_tensors
    *_, gate, delta_bias, _lengths = saved
    *grads, grad_gate, grad_bias = torch.ops.dnachunk.selective_scan_backward(grad, *saved, ctx.reverse)
    return (
        *grads,
        None if gate is None else grad_gate,
        None if delta_bias is None else grad_bias,
        None,
        None,
    )


def _fake_backward(_grad: torch.Tensor, _states: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, ...]:
    *tensors, gate, delta_bias, _lengths, _reverse = arguments
    x, skip = tensors[0], tensors[-1]
    grads = [tensor.new_empty(tensor.shape) for tensor in tensors]
    grad_gate = x.new_empty((0, 0, 0) if gate is None else gate.shape)
    return *grads, grad_gate, skip.new_empty(0 if delta_bias is None else delta_bias.shape[0])


def _flops(x: Sequence[int], _delta: Sequence[int], state_matrix: Sequence[int], *_: Any) -> int:
    """Of each state ``Δ A``, its decay, its drive and the sum with ``C``: four products."""
    return 2 * 4 * math.prod(x) * state_matrix[1]


def _flops_backward(_grad: Sequence[int], _states: Sequence[int], *arguments: Any) -> int:
    """The states anew, of three products, and the nine products of the gradients."""
    return 3 * _flops(*arguments)


_ARGUMENTS = (
    "Tensor x, Tensor delta, Tensor state_matrix, Tensor input_matrix, Tensor output_matrix, Tensor skip, "
    "Tensor? gate, Tensor? delta_bias, Tensor lengths, bool reverse"
)

register(
    "selective_scan",
    f"({_ARGUMENTS}) -> (Tensor out, Tensor states)",
    cpu=rust.selective_scan_forward,
    cuda="dnachunk.ops.selective_scan.triton:forward",
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
    flops=_flops,
)
register(
    "selective_scan_backward",
    f"(Tensor grad, Tensor states, {_ARGUMENTS}) -> (Tensor grad_x, Tensor grad_delta, "
    "Tensor grad_state_matrix, Tensor grad_input_matrix, Tensor grad_output_matrix, Tensor grad_skip, "
    "Tensor grad_gate, Tensor grad_delta_bias)",
    cpu=rust.selective_scan_backward,
    cuda="dnachunk.ops.selective_scan.triton:backward",
    fake=_fake_backward,
    flops=_flops_backward,
)
