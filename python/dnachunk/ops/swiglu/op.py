"""Registration and public function of ``swiglu``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_float
from dnachunk.ops._register import register
from dnachunk.ops.swiglu.naive import swiglu_naive


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """The gate of SwiGLU (Shazeer 2020): ``silu(gate) ⊙ up``.

    Args:
        gate_up: ``[..., 2 F]`` float32, float64, bfloat16 or float16: ``gate`` and ``up`` side by side, as
            one projection gives them.

    Returns:
        ``[..., F]`` in the dtype of ``gate_up``.

    Raises:
        TypeError: If ``gate_up`` is not floating point.
        ValueError: If its last dimension is odd.

    Note:
        Kernels on CPU and GPU, computing in float32 (float64 for float64); differentiable once; the same bits
        for any number of threads.

    Example:
        >>> swiglu(torch.tensor([0.0, 100.0, 3.0, 2.0]))
        tensor([  0., 200.])
    """
    check_float("swiglu", "gate_up", gate_up)
    if gate_up.dim() == 0 or gate_up.shape[-1] % 2:
        raise ValueError(f"swiglu: gate_up must be [..., 2 F], got {list(gate_up.shape)}")
    if backend_of("swiglu", gate_up) == "torch":
        return swiglu_naive(gate_up)
    rows = gate_up.reshape(gate_up.shape[:-1].numel(), gate_up.shape[-1])
    return torch.ops.dnachunk.swiglu(rows).view(*gate_up.shape[:-1], gate_up.shape[-1] // 2)


def _backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
    return torch.ops.dnachunk.swiglu_backward(grad, *ctx.saved_tensors)


register(
    "swiglu",
    "(Tensor gate_up) -> Tensor",
    cpu=rust.swiglu_forward,
    cuda="dnachunk.ops.swiglu.triton:forward",
    fake=lambda gate_up: gate_up.new_empty((gate_up.shape[0], gate_up.shape[1] // 2)),
    backward=_backward,
)
register(
    "swiglu_backward",
    "(Tensor grad, Tensor gate_up) -> Tensor",
    cpu=rust.swiglu_backward,
    cuda="dnachunk.ops.swiglu.triton:backward",
    fake=lambda _grad, gate_up: gate_up.new_empty(gate_up.shape),
)
