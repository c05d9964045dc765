"""Registration and public function of ``causal_conv``."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._lengths import full_lengths
from dnachunk.ops._register import register
from dnachunk.ops.causal_conv.naive import causal_conv_naive

_WIDTHS = (2, 3, 4)


def causal_conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    activation: Literal["silu"] | None = None,
    reverse: bool = False,
) -> torch.Tensor:
    """Depthwise convolution that sees a position and those before it.

    ``out_t = act(bias + Σ_w weight_w x_{t − (W − 1) + w})`` in every channel, with zeros before the first
    position: ``Conv1d(D, D, W, groups=D, padding=W - 1)`` cut to the length of its input, in Mamba's block
    (Gu & Dao 2023). In reverse a position sees those after it: as flipping the real positions of each
    sequence, convolving and flipping back, bit for bit.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16; read without a copy where the channels of a
            position are contiguous, as in one half of a packed projection.
        weight: ``[D, W]`` of any floating-point dtype, ``W`` from 2 to 4; computed with in float32 (float64
            for float64 ``x``), as under autocast.
        bias: ``[D]`` of any floating-point dtype; default none.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``; default all.
        activation: ``"silu"``, or none (default).
        reverse: See above.

    Returns:
        ``[B, N, D]`` in the dtype of ``x``; 0 from ``lengths[b]`` on, where ``x`` is not read and its
        gradient is 0.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, activation or device, and from the kernel on lengths out of range (the
            PyTorch form does not read them back: it takes the nearest length in range).

    Note:
        Kernels on CPU and GPU: sums and activation in float32 (float64 for float64), the result rounded once;
        differentiable once; the same bits for any number of threads.

    Example:
        >>> x = torch.tensor([[[1.0], [2.0], [5.0]]])
        >>> causal_conv(x, torch.tensor([[10.0, 1.0]]))[0, :, 0]
        tensor([ 1., 12., 25.])
    """
    op = "causal_conv"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    batch, _, channels = x.shape
    check_shape(op, "weight", weight, (channels, "W"))
    check_float(op, "weight", weight)
    if weight.shape[1] not in _WIDTHS:
        raise ValueError(f"{op}: weight must be [D, W] with W in {_WIDTHS}, got {list(weight.shape)}")
    if bias is not None:
        check_shape(op, "bias", bias, (channels,))
        check_float(op, "bias", bias)
    if lengths is None:
        lengths = full_lengths(x)
    check_shape(op, "lengths", lengths, (batch,))
    check_dtype(op, "lengths", lengths, torch.int64)
    if activation not in (None, "silu"):
        raise ValueError(f"{op}: activation must be None or 'silu', got {activation!r}")
    check_same_device(op, x=x, weight=weight, bias=bias, lengths=lengths)
    if backend_of(op, x, weight, bias, lengths) == "torch":
        return causal_conv_naive(x, weight, bias, lengths, activation, reverse)
    dtype = accumulator_dtype(x.dtype)
    bias = None if bias is None else bias.to(dtype)
    return torch.ops.dnachunk.causal_conv(x, weight.to(dtype), bias, lengths, activation == "silu", reverse)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # Read once: checkpointing unpacks what is saved a single time.
    saved = ctx.saved_tensors
    bias = saved[2]
    grad_x, grad_weight, grad_bias = torch.ops.dnachunk.causal_conv_backward(
        grad, *saved, ctx.silu, ctx.reverse
    )
    return grad_x, grad_weight, None if bias is None else grad_bias, None, None, None


def _fake_backward(
    _grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *_: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    grad_bias = weight.new_empty(0 if bias is None else bias.shape[0])
    return x.new_empty(x.shape), weight.new_empty(weight.shape), grad_bias


def _flops(x: Sequence[int], weight: Sequence[int], *_: Any) -> int:
    return 2 * math.prod(x) * weight[-1]


register(
    "causal_conv",
    "(Tensor x, Tensor weight, Tensor? bias, Tensor lengths, bool silu, bool reverse) -> Tensor",
    cpu=rust.causal_conv_forward,
    cuda="dnachunk.ops.causal_conv.triton:forward",
    fake=lambda x, *_: x.new_empty(x.shape),
    backward=_backward,
    setup_context=_setup_context,
    flops=_flops,
)
register(
    "causal_conv_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor? bias, Tensor lengths, bool silu, bool reverse) "
    "-> (Tensor grad_x, Tensor grad_weight, Tensor grad_bias)",
    cpu=rust.causal_conv_backward,
    cuda="dnachunk.ops.causal_conv.triton:backward",
    fake=_fake_backward,
    # Gradients of the input and of the weight.
    flops=lambda _grad, *arguments: 2 * _flops(*arguments),
)
