"""Registration and public function of ``rms_norm``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.rms_norm.naive import rms_norm_torch


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float = 1e-6, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Root-mean-square norm (Zhang & Sennrich 2019): ``x / √(mean(x²) + ε) ⊙ weight``.

    Args:
        x: ``[..., D]`` float32, float64, bfloat16 or float16.
        weight: ``[D]`` float.
        epsilon: Added to the mean square, at least 0.
        dtype: Of the result: that of ``x`` (default), or bfloat16 or float16 for float32 ``x``, which saves
            the pass that autocast would convert in.

    Returns:
        ``[..., D]``.

    Raises:
        TypeError: On a dtype that is not floating point, or a ``dtype`` that ``x`` cannot give.
        ValueError: On a wrong shape or a negative ``epsilon``.

    Note:
        Kernels on CPU and GPU, computing in float32 (float64 for float64); differentiable once; the same bits
        for any number of threads.

    Example:
        >>> rms_norm(torch.tensor([1.0, 7.0]), torch.tensor([5.0, 5.0]), epsilon=0.0)
        tensor([1., 7.])
    """
    check_float("rms_norm", "x", x)
    check_float("rms_norm", "weight", weight)
    if not x.dim():
        raise ValueError("rms_norm: x must be [..., D], got []")
    check_shape("rms_norm", "weight", weight, (x.shape[-1],))
    check_same_device("rms_norm", x=x, weight=weight)
    if not epsilon >= 0:
        raise ValueError(f"rms_norm: epsilon must be at least 0, got {epsilon}")
    dtype = dtype or x.dtype
    is_narrowing = x.dtype == torch.float32 and dtype in (torch.bfloat16, torch.float16)
    if dtype != x.dtype and not is_narrowing:
        raise TypeError(f"rms_norm: dtype must be {x.dtype}, or a half type of torch.float32, got {dtype}")
    if backend_of("rms_norm", x, weight) == "torch":
        return rms_norm_torch(x, weight, epsilon, dtype)
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    wide = weight.to(accumulator_dtype(x.dtype))
    return torch.ops.dnachunk.rms_norm(rows, wide, epsilon, str(dtype).removeprefix("torch."))[0].view(
        x.shape
    )


def _fake(
    x: torch.Tensor, weight: torch.Tensor, _epsilon: float, dtype: str
) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape, dtype=getattr(torch, dtype)), weight.new_empty(x.shape[0])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(output[1], *inputs[:2])
    ctx.mark_non_differentiable(output[1])


def _backward(
    ctx: Any, grad: torch.Tensor, _grad_inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, None, None]:
    return *torch.ops.dnachunk.rms_norm_backward(grad, *ctx.saved_tensors), None, None


register(
    "rms_norm",
    "(Tensor x, Tensor weight, float epsilon, str dtype) -> (Tensor out, Tensor inverse)",
    cpu=rust.rms_norm_forward,
    cuda="dnachunk.ops.rms_norm.triton:forward",
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "rms_norm_backward",
    "(Tensor grad, Tensor inverse, Tensor x, Tensor weight) -> (Tensor grad_x, Tensor grad_weight)",
    cpu=rust.rms_norm_backward,
    cuda="dnachunk.ops.rms_norm.triton:backward",
    fake=lambda _grad, _inverse, x, weight: (x.new_empty(x.shape), torch.empty_like(weight)),
)
