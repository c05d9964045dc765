"""Registration and public function of ``deformable_conv``."""

from typing import Any

import torch
import torch.nn.functional as F

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import accumulator_dtype, check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._lengths import real_positions
from dnachunk.ops._register import register
from dnachunk.ops.deformable_conv.naive import deformable_columns_naive


def deformable_conv(
    x: torch.Tensor,
    offset: torch.Tensor,
    modulation: torch.Tensor,
    weight: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """One-dimensional modulated deformable convolution (Zhu et al. 2019; MxDNA's token assembly).

    ``Y_i = Σ_m w_m · modulation_{i,m} · X(i + m − ⌊f/2⌋ + offset_{i,m})`` over the taps ``m = 0 … f − 1``.
    ``X(p)`` interpolates linearly between rows ``⌊p⌋`` and ``⌊p⌋ + 1``, where rows outside ``[0, length)``
    are zero: it fades to 0 at −1 and at ``length``. An offset that is not finite reads outside. The
    derivative by the offset is the difference of those two rows, at whole positions too, as torchvision's
    ``deform_conv2d`` has it.

    Args:
        x: ``[B, K, D]`` float32, float64, bfloat16 or float16, channel last.
        offset: ``[B, K, f]``, float64 for float64 ``x`` and float32 otherwise: how many rows each tap reads
            away from its place, shared by all channels.
        modulation: ``[B, K, f]``, as ``offset``: factor of each tap.
        weight: ``[D_out, D, f]`` in the dtype of ``x``, as ``torch.nn.functional.conv1d`` has it.
        lengths: ``[B]`` int64, real rows of each sequence, in ``[0, K]``; default all.

    Returns:
        ``[B, K, D_out]`` in the dtype of ``x``; 0 from ``lengths[b]`` on, where no argument is read and every
        gradient is 0. Under autocast ``x`` and ``weight`` are taken, and the result given, in its dtype.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape or device, and from the kernel on lengths out of range (the PyTorch form
            does not read them back: it takes the nearest length in range).

    Note:
        Kernels on CPU and GPU for the sampling and its gradient, computing in the dtype of ``offset`` and
        rounding each modulated sample once; the product with ``weight`` is torch's. The samples,
        ``[B, K, f, D]``, are kept for the gradient of ``weight``: memory is linear in ``K``. Differentiable
        once. The kernel gives the same bits for any number of threads, the gradient that rows gather from the
        samples that read them included. Only the offset is split into whole and fraction, so a position is as
        exact late in a sequence as early; adding it to ``i`` in float32 would not be past 2²⁴ rows.

    Example:
        >>> x = torch.tensor([[[1.0], [4.0], [16.0]]])
        >>> offset = torch.tensor([[[0.5], [-2.0], [0.25]]])
        >>> deformable_conv(x, offset, torch.ones(1, 3, 1), torch.ones(1, 1, 1))[0, :, 0]
        tensor([ 2.5000,  0.0000, 12.0000])
    """
    op = "deformable_conv"
    check_shape(op, "x", x, ("B", "K", "D"))
    check_shape(op, "weight", weight, ("D_out", "D", "f"))
    check_shape(op, "weight", weight, ("D_out", x.shape[2], "f"))
    check_float(op, "x", x)
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        # Before the sampling rather than after: there are f samples to a row.
        x, weight = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (x, weight))
    check_dtype(op, "weight", weight, x.dtype)
    for name, tensor in (("offset", offset), ("modulation", modulation)):
        check_shape(op, name, tensor, (*x.shape[:2], weight.shape[2]))
        check_dtype(op, name, tensor, accumulator_dtype(x.dtype))
    if lengths is not None:
        check_shape(op, "lengths", lengths, (x.shape[0],))
        check_dtype(op, "lengths", lengths, torch.int64)
    check_same_device(op, x=x, offset=offset, modulation=modulation, weight=weight, lengths=lengths)
    if backend_of(op, x, offset, modulation, weight, lengths) == "torch":
        columns = deformable_columns_naive(x, offset, modulation, lengths)
    else:
        columns = torch.ops.dnachunk.deformable_conv(x, offset, modulation, lengths)
    output = F.linear(columns.flatten(2), weight.transpose(1, 2).flatten(1))
    if lengths is None:
        return output
    # Zero already, but the gradient of the weight must not see what comes back at padding.
    is_real = real_positions(lengths, x.shape[1])
    return output.where(is_real[:, :, None], 0)


def _fake(
    x: torch.Tensor, offset: torch.Tensor, _modulation: torch.Tensor, _lengths: torch.Tensor | None
) -> torch.Tensor:
    return x.new_empty((*offset.shape, x.shape[2]))


def _backward(ctx: Any, grad_columns: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return *torch.ops.dnachunk.deformable_conv_backward(grad_columns, *ctx.saved_tensors), None


register(
    "deformable_conv",
    "(Tensor x, Tensor offset, Tensor modulation, Tensor? lengths) -> Tensor",
    cpu=rust.deformable_conv_forward,
    cuda="dnachunk.ops.deformable_conv.triton:forward",
    fake=_fake,
    backward=_backward,
)
register(
    "deformable_conv_backward",
    "(Tensor grad_columns, Tensor x, Tensor offset, Tensor modulation, Tensor? lengths) "
    "-> (Tensor grad_x, Tensor grad_offset, Tensor grad_modulation)",
    cpu=rust.deformable_conv_backward,
    cuda="dnachunk.ops.deformable_conv.triton:backward",
    fake=lambda _grad_columns, x, offset, modulation, _lengths: (
        x.new_empty(x.shape),
        offset.new_empty(offset.shape),
        modulation.new_empty(modulation.shape),
    ),
)
