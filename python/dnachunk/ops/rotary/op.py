"""Registration and public function of ``rotary``."""

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
)
from dnachunk.ops._register import register
from dnachunk.ops.rotary.naive import rotary_naive


def rotary(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turns packed queries and keys by rotary positions (Su et al. 2021); values are copied.

    With the halves of a head as real and imaginary parts: ``(x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin)``.

    Args:
        qkv: ``[B, L, 3, H, d]`` float32, float64, bfloat16 or float16, ``d`` even.
        cos: ``[B or 1, L, d / 2]``, float64 for float64 ``qkv`` and float32 otherwise; no gradient.
        sin: As ``cos``.

    Returns:
        ``[B, L, 3, H, d]`` in the dtype of ``qkv``.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape.

    Note:
        Kernels on CPU and GPU; differentiable once; the same bits for any number of threads.

    Example:
        >>> qkv = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 1, 3, 1, 2)
        >>> rotary(qkv, torch.zeros(1, 1, 1), torch.ones(1, 1, 1)).flatten()
        tensor([-2.,  1., -4.,  3.,  5.,  6.])
    """
    check_shape("rotary", "qkv", qkv, ("B", "L", 3, "H", "d"))
    check_float("rotary", "qkv", qkv)
    batch, length, _, _, channels = qkv.shape
    if channels % 2:
        raise ValueError(f"rotary: qkv must have an even number of channels, got {channels}")
    angles = (1 if isinstance(cos, torch.Tensor) and cos.dim() and cos.shape[0] == 1 else batch, length)
    for name, tensor in (("cos", cos), ("sin", sin)):
        check_shape("rotary", name, tensor, (*angles, channels // 2))
        check_dtype("rotary", name, tensor, accumulator_dtype(qkv.dtype))
    check_same_device("rotary", qkv=qkv, cos=cos, sin=sin)
    if backend_of("rotary", qkv, cos, sin) == "torch":
        return rotary_naive(qkv, cos.detach(), sin.detach())
    return torch.ops.dnachunk.rotary(qkv, cos, sin)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[1:])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return torch.ops.dnachunk.rotary_backward(grad, *ctx.saved_tensors), None, None


register(
    "rotary",
    "(Tensor qkv, Tensor cos, Tensor sin) -> Tensor",
    cpu=rust.rotary_forward,
    cuda="dnachunk.ops.rotary.triton:forward",
    fake=lambda qkv, _cos, _sin: qkv.new_empty(qkv.shape),
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "rotary_backward",
    "(Tensor grad, Tensor cos, Tensor sin) -> Tensor",
    cpu=rust.rotary_backward,
    cuda="dnachunk.ops.rotary.triton:backward",
    fake=lambda grad, _cos, _sin: grad.new_empty(grad.shape),
)
