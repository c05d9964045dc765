"""Registration and public function of ``soft_assignment``."""

from typing import Any

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_same_device, check_shape, check_windows
from dnachunk.ops._register import register
from dnachunk.ops.soft_assignment.naive import soft_assignment_torch

# The kernels' backward keeps a number for each candidate of a window and each step.
_LARGEST_WINDOW = 512


def soft_assignment(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    temperature: float = 0.1,
) -> torch.Tensor:
    """How much of itself each candidate gives to the neighbours on its left and right.

    The continuous relaxation of :func:`dnachunk.ops.neighbor_match`, after DTEM (Lee & Hong 2024):
    ``a_ij = min(s_i, 0.999) · softmax_j(c_ij / τ)`` over the keepers ``j`` beside candidate ``i``. ``s`` are
    the ``r`` best of the window's candidates by successive softmax (the relaxed top-r of Plötz & Roth 2018):
    ``s = Σ_k clamp(r − k, 0, 1) p^k``, ``p^k = softmax(l^k / τ)`` over the window's candidates, ``l^0`` the
    better of a candidate's scores, ``l^{k+1} = l^k + log max(1 − p^k, 1e-30)``. ``r`` is the window's share
    of ``num_merges`` by its candidates.

    Args:
        scores: ``[B, N]`` float32 or float64 in [-1, 1]; ``scores[b, i]`` is that of positions ``i`` and
            ``i + 1``.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``.
        num_merges: ``[B]`` int64, from 0 to the number of candidates that have a keeper.
        window: Positions in a window, at least 1.
        shift: Positions in the first window if not 0, below ``window``.
        temperature: τ, above 0.

    Returns:
        ``[B, N, 2]`` in the dtype of ``scores``, in [0, 1]: what each position gives to the one on its left
        and the one on its right; 0 at keepers and on padding.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, a temperature that is not positive, and on the CPU on lengths or merges
            out of range.

    Note:
        Kernels on CPU and GPU for windows of at most 512 positions; differentiable once in ``scores``, of
        which two that are equal each take half of the better one's gradient; the same bits for any number of
        threads.

    Example:
        >>> scores = torch.tensor([[0.5, 0.5, 0.5, 0.0]])
        >>> soft_assignment(scores, torch.tensor([4]), torch.tensor([1]), window=4)
        tensor([[[0.0000, 0.5000],
                 [0.0000, 0.0000],
                 [0.2500, 0.2500],
                 [0.0000, 0.0000]]])
    """
    op = "soft_assignment"
    check_shape(op, "scores", scores, ("B", "N"))
    check_shape(op, "lengths", lengths, (scores.shape[0],))
    check_shape(op, "num_merges", num_merges, (scores.shape[0],))
    if scores.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: scores must be float32 or float64, got {scores.dtype}")
    check_dtype(op, "lengths", lengths, torch.int64)
    check_dtype(op, "num_merges", num_merges, torch.int64)
    check_same_device(op, scores=scores, lengths=lengths, num_merges=num_merges)
    check_windows(op, window, shift)
    if not temperature > 0:
        raise ValueError(f"{op}: temperature must be above 0, got {temperature}")
    arguments = (scores, lengths, num_merges, window, shift, temperature)
    if window > _LARGEST_WINDOW or backend_of(op, scores, lengths, num_merges) == "torch":
        return soft_assignment_torch(*arguments)
    return torch.ops.dnachunk.soft_assignment(*arguments)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    scores, lengths, num_merges, *ctx.settings = inputs
    ctx.save_for_backward(scores, lengths, num_merges)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    grad_scores = torch.ops.dnachunk.soft_assignment_backward(grad, *ctx.saved_tensors, *ctx.settings)
    return grad_scores, None, None, None, None, None


register(
    "soft_assignment",
    "(Tensor scores, Tensor lengths, Tensor num_merges, int window, int shift, float temperature) -> Tensor",
    cpu=rust.soft_assignment_forward,
    cuda="dnachunk.ops.soft_assignment.triton:forward",
    fake=lambda scores, *_: scores.new_empty((*scores.shape, 2)),
    backward=_backward,
    setup_context=_setup_context,
)
register(
    "soft_assignment_backward",
    "(Tensor grad, Tensor scores, Tensor lengths, Tensor num_merges, int window, int shift, "
    "float temperature) -> Tensor",
    cpu=rust.soft_assignment_backward,
    cuda="dnachunk.ops.soft_assignment.triton:backward",
    fake=lambda _grad, scores, *_: scores.new_empty(scores.shape),
)
