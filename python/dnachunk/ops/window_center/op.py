"""Registration and public function of ``window_center``."""

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
from dnachunk.ops.window_center.naive import window_center_torch

# The GPU's kernel holds a column of all positions of a window.
_LARGEST_WINDOW = 512


def window_center(x: torch.Tensor, lengths: torch.Tensor, window: int = 16, shift: int = 0) -> torch.Tensor:
    """What tells the positions of a window apart: their vectors, of equal length, less their mean.

    ``u_i = x_i / √(mean(x_i²) + 1e-6)``, ``y_i = u_i − mean_j u_j`` over the real positions ``j`` of the
    window. Cosines of vectors that share a strong common part are all alike; of these they are not.

    Args:
        x: ``[B, N, D]`` float32, float64, bfloat16 or float16.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``.
        window: Positions in a window, at least 1.
        shift: Positions in the first window if not 0, below ``window``.

    Returns:
        ``[B, N, D]``, float64 for float64 and float32 otherwise; 0 on padding.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on lengths out of range.

    Note:
        For what is compared: no gradient. Kernels on CPU and, for windows of at most 512 positions, on GPU;
        the same bits for any number of threads.

    Example:
        >>> x = torch.tensor([[[2.0, 2.0], [2.0, -2.0]]])
        >>> window_center(x, torch.tensor([2]))
        tensor([[[ 0.0000,  1.0000],
                 [ 0.0000, -1.0000]]])
    """
    op = "window_center"
    check_shape(op, "x", x, ("B", "N", "D"))
    check_float(op, "x", x)
    check_shape(op, "lengths", lengths, (x.shape[0],))
    check_dtype(op, "lengths", lengths, torch.int64)
    check_same_device(op, x=x, lengths=lengths)
    check_windows(op, window, shift)
    x = x.detach()
    backend = backend_of(op, x, lengths)
    if backend == "torch" or (backend == "triton" and window > _LARGEST_WINDOW):
        return window_center_torch(x, lengths, window, shift)
    return torch.ops.dnachunk.window_center(x, lengths, window, shift)


register(
    "window_center",
    "(Tensor x, Tensor lengths, int window, int shift) -> Tensor",
    cpu=rust.window_center_forward,
    cuda="dnachunk.ops.window_center.triton:forward",
    fake=lambda x, *_: x.new_empty(x.shape, dtype=accumulator_dtype(x.dtype)),
)
