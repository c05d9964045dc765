"""Registration and public function of ``window_attention``."""

from collections.abc import Sequence
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
    check_windows,
)
from dnachunk.ops._register import register
from dnachunk.ops.window_attention.naive import window_attention_torch

# Of windows, the channels of a head that the GPU's kernel holds; wider ones run in the PyTorch form.
_LARGEST_HEAD = {16: 128, 32: 64}


def window_attention(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    lengths: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax attention inside consecutive windows, with rotary positions.

    MergeDNA's local attention (Sec. 3.2). Windows are groups of ``window`` positions one after the other that
    do not overlap; a position attends to the real positions of its own window, with scale ``1/√d``. Queries
    and keys are first turned by the angle of their position, the first half of the channels with the second
    (RoPE, Su et al. 2021): ``x₁' = x₁ cos − x₂ sin``, ``x₂' = x₂ cos + x₁ sin``.

    Args:
        qkv: ``[B, N, 3, H, d]`` float32, float64, bfloat16 or float16, ``d`` even: queries, keys and values,
            as ``Linear(D, 3 * D)(x).view(B, N, 3, H, d)`` gives them, without a copy.
        cos: ``[B, N, d/2]`` or ``[1, N, d/2]``, float64 for float64 and float32 otherwise: cosines of the
            angles, shared by all heads. No gradient reaches it.
        sin: The same of the sines.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``.
        window: Positions in a window, at least 1. The last window of a sequence may be short.
        shift: Positions in the first window if not 0, below ``window``.
        bias: ``[B, N]`` in the dtype of ``cos``, added to the scores of each position as a key (the logarithm
            of a token's size, as in ToMe); −inf excludes a key, of which each window needs another; default
            none.

    Returns:
        ``[B, N, H, d]`` in the dtype of ``qkv``; 0 from ``lengths[b]`` on, where nothing is read and
        gradients are 0.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, window, shift or device, and from the kernel on lengths out of range
            (the PyTorch form does not read them back: it takes the nearest length in range).

    Note:
        Kernels on CPU and, for windows of at most 16 positions and heads of at most 128 channels, or 32 and
        64, on GPU: rotation, scores, softmax and sums in the dtype of ``cos``, the result rounded once;
        differentiable once; saves no more than its arguments; the same bits for any number of threads.

    Example:
        >>> qkv = torch.tensor([[[[[0.0, 0.0]], [[0.0, 0.0]], [[x, 0.0]]] for x in (1.0, 2.0, 6.0)]])
        >>> cos, sin = torch.ones(1, 3, 1), torch.zeros(1, 3, 1)
        >>> window_attention(qkv, cos, sin, torch.tensor([3]), window=2)[0, :, 0, 0]
        tensor([1.5000, 1.5000, 6.0000])
    """
    op = "window_attention"
    check_shape(op, "qkv", qkv, ("B", "N", 3, "H", "d"))
    check_float(op, "qkv", qkv)
    batch, length, _, _, head_dim = qkv.shape
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"{op}: the head dimension of qkv must be even and at least 2, got {head_dim}")
    for name, angles in (("cos", cos), ("sin", sin)):
        check_shape(op, name, angles, ("B", "N", "d/2"))
        check_shape(op, name, angles, (1 if cos.shape[0] == 1 else batch, length, head_dim // 2))
        check_dtype(op, name, angles, accumulator_dtype(qkv.dtype))
    check_shape(op, "lengths", lengths, (batch,))
    check_dtype(op, "lengths", lengths, torch.int64)
    if bias is not None:
        check_shape(op, "bias", bias, (batch, length))
        check_dtype(op, "bias", bias, accumulator_dtype(qkv.dtype))
    check_same_device(op, qkv=qkv, cos=cos, sin=sin, lengths=lengths, bias=bias)
    check_windows(op, window, shift)
    cos, sin = cos.detach(), sin.detach()
    backend = backend_of(op, qkv, cos, sin, lengths, bias)
    if backend == "torch" or (backend == "triton" and not _fits(window, head_dim)):
        return window_attention_torch(qkv, cos, sin, lengths, window, shift, bias)
    return torch.ops.dnachunk.window_attention(qkv, cos, sin, lengths, window, shift, bias)


def _fits(window: int, head_dim: int) -> bool:
    return any(window <= positions and head_dim <= channels for positions, channels in _LARGEST_HEAD.items())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    *tensors, ctx.window, ctx.shift, bias = inputs
    ctx.save_for_backward(*tensors, bias)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    *tensors, bias = ctx.saved_tensors
    grad_qkv, grad_bias = torch.ops.dnachunk.window_attention_backward(
        grad, *tensors, ctx.window, ctx.shift, bias
    )
    return grad_qkv, None, None, None, None, None, None if bias is None else grad_bias


def _fake_backward(
    _grad: torch.Tensor, qkv: torch.Tensor, cos: torch.Tensor, *arguments: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    bias = arguments[-1]
    return qkv.new_empty(qkv.shape), cos.new_empty((0, 0) if bias is None else bias.shape)


def _flops(qkv: Sequence[int], window: int, shift: int) -> int:
    """Of one matrix product between the positions of each window, all heads."""
    batch, length, _, heads, head_dim = qkv
    first = min(shift, length)
    full, last = divmod(length - first, window)
    return 2 * batch * heads * head_dim * (first**2 + full * window**2 + last**2)


register(
    "window_attention",
    "(Tensor qkv, Tensor cos, Tensor sin, Tensor lengths, SymInt window, int shift, Tensor? bias) -> Tensor",
    cpu=rust.window_attention_forward,
    cuda="dnachunk.ops.window_attention.triton:forward",
    fake=lambda qkv, *_: torch.empty_like(qkv[:, :, 0], memory_format=torch.contiguous_format),
    backward=_backward,
    setup_context=_setup_context,
    # Queries by keys, and weights by values.
    flops=lambda qkv, _cos, _sin, _lengths, window, shift, _bias: 2 * _flops(qkv, window, shift),
)
register(
    "window_attention_backward",
    "(Tensor grad, Tensor qkv, Tensor cos, Tensor sin, Tensor lengths, SymInt window, int shift, "
    "Tensor? bias) -> (Tensor grad_qkv, Tensor grad_bias)",
    cpu=rust.window_attention_backward,
    cuda="dnachunk.ops.window_attention.triton:backward",
    fake=_fake_backward,
    # The scores anew, and the gradients of weights, values, queries and keys.
    flops=lambda _grad, qkv, _cos, _sin, _lengths, window, shift, _bias: 5 * _flops(qkv, window, shift),
)
