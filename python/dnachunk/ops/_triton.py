"""What the Triton kernels share: parts of their arithmetic, and how views and lengths reach them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


class _Kernel:
    """What the host launches as ``kernel[grid](...)``."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        # Said here, as Triton's default is about to change.
        return functools.partial(self.function[grid], enable_fp_fusion=True)


def kernel(*sizes: str) -> Callable[[Callable[..., None]], _Kernel]:
    """Makes a function a kernel.

    Args:
        sizes: Arguments that vary from call to call, as the length of a sequence does. Otherwise Triton would
            compile again where one is 1, or a multiple of 16.
    """
    return lambda function: _Kernel(triton.jit(function, do_not_specialize=list(sizes)))


@triton.jit
def clamped_length(lengths, b, N):
    """The real positions of sequence ``b``, whatever the tensor says."""
    return tl.minimum(tl.maximum(tl.load(lengths + b), 0), N).to(tl.int32)


@triton.jit
def softplus(x):
    """``log(1 + exp(x))`` to the last bits: log1p by Kahan's correction, which needs no device library."""
    e = tl.exp(-tl.abs(x))
    w = 1.0 + e
    log1p = tl.where(w == 1.0, e, tl.log(w) * (e / tl.where(w == 1.0, 1.0, w - 1.0)))
    return tl.maximum(x, 0.0) + log1p


@triton.jit
def mirrored(step, real, REVERSE: tl.constexpr):
    """Where a step of a sequence lies: in reverse mirrored inside the real positions, in place on padding."""
    place = tl.where(step < real, real - 1 - step, step) if REVERSE else step
    return tl.cast(place, tl.int64)


@kernel()
def _nothing(n):
    pass


def probe() -> None:
    """Compiles and launches a kernel that does nothing; raises where Triton does not work."""
    _nothing[(1,)](1)


def strides(tensor: torch.Tensor | None, dims: int) -> tuple[int, ...]:
    """Of the first ``dims`` dimensions; zeros for an absent tensor."""
    return (0,) * dims if tensor is None else tensor.stride()[:dims]


def with_dense_rows(*tensors: torch.Tensor | None) -> list[Any]:
    """The tensors with their last dimension contiguous: themselves where that is so, otherwise copies."""
    return [
        tensor if tensor is None or tensor.shape[-1] <= 1 or tensor.stride(-1) == 1 else tensor.contiguous()
        for tensor in tensors
    ]


def dense(*tensors: torch.Tensor | None) -> list[Any]:
    """The tensors without gaps, as parameters and lengths are read."""
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


__all__ = [
    "LOG2_E",
    "clamped_length",
    "dense",
    "kernel",
    "mirrored",
    "probe",
    "softplus",
    "strides",
    "with_dense_rows",
]
