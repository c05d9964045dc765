"""Registration and public function of ``basic_units``."""

from collections.abc import Sequence

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.basic_units.naive import Decision, basic_units_torch

MAX_SIZE = 64


def basic_units(
    scores: torch.Tensor, kernel_sizes: Sequence[int], starts: torch.Tensor, ends: torch.Tensor
) -> Decision:
    """Selects MxDNA's basic units: greedy non-maximum suppression with no overlap allowed.

    A candidate is a position ``i`` with an expert ``j``; its unit covers ``[i − ⌊L_j/2⌋, i + ⌈L_j/2⌉)`` and
    must lie inside the sequence's range of bases. Candidates are taken by descending score; one whose unit is
    free is accepted and its bases are taken. Ties go to the lower position, then to the lower expert. Bases
    that end up in no unit, which happens only where 1 is not among the sizes, become tokens of their own.
    Source: MxDNA (Qiao et al. 2024) Sec. 3.2.1.

    Args:
        scores: ``[B, N, E]`` float32, float64, bfloat16 or float16; the half types are widened. A score that
            is not a number counts as −∞, which is a score like any other, and −0 as 0. Whatever lies outside
            a sequence's range is ignored.
        kernel_sizes: ``L``, the bases of each of the E experts' units, each in [1, 64]; in any order, any of
            them more than once.
        starts: ``[B]`` int64: first base of each sequence, such as the one behind ``[CLS]``.
        ends: ``[B]`` int64: one behind its last, such as the place of ``[SEP]``;
            ``0 <= start <= end <= N``.

    Returns:
        ``(token_index, num_tokens, token_center, token_expert)``, all int64. ``token_index [B, N]``: the
        token of each base, numbered in order, −1 outside the range. ``num_tokens [B]``. ``token_center
        [B, N]``: the position ``i`` of each token's unit, tokens in order, or the base itself where there is
        no unit. ``token_expert [B, N]``: its expert, −1 where there is no unit. Both are −1 from
        ``num_tokens`` on.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: If shapes, devices or kernel sizes do not fit, or a range does not; on devices without a
            kernel ranges are not read.

    Note:
        Kernels on CPU, in time linear in N for any scores, and on GPU; a decision, so no gradient; the same
        for any number of threads. On a GPU, and in PyTorch's form, the number of rounds grows where scores
        rise or tie over long stretches.

    Example:
        >>> scores = torch.tensor([[[0.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]]])
        >>> index, count, center, expert = basic_units(scores, [1, 2], torch.tensor([0]), torch.tensor([4]))
        >>> index, center, expert
        (tensor([[0, 0, 1, 2]]), tensor([[ 1,  2,  3, -1]]), tensor([[ 1,  0,  0, -1]]))
    """
    op = "basic_units"
    check_shape(op, "scores", scores, ("B", "N", "E"))
    check_float(op, "scores", scores)
    kernel_sizes = list(kernel_sizes)
    if len(kernel_sizes) != scores.shape[2]:
        raise ValueError(
            f"{op}: kernel_sizes must be one for each of {scores.shape[2]} experts, got {kernel_sizes}"
        )
    if not all(1 <= size <= MAX_SIZE for size in kernel_sizes):
        raise ValueError(f"{op}: kernel_sizes must be in [1, {MAX_SIZE}], got {kernel_sizes}")
    for argument, bounds in (("starts", starts), ("ends", ends)):
        check_shape(op, argument, bounds, scores.shape[:1])
        check_dtype(op, argument, bounds, torch.int64)
    check_same_device(op, scores=scores, starts=starts, ends=ends)
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    if backend_of(op, scores) == "torch":
        return basic_units_torch(scores, kernel_sizes, starts, ends)
    return torch.ops.dnachunk.basic_units(scores.detach(), kernel_sizes, starts, ends)


def _fake(
    scores: torch.Tensor, _kernel_sizes: Sequence[int], _starts: torch.Tensor, _ends: torch.Tensor
) -> Decision:
    def bases() -> torch.Tensor:
        return scores.new_empty(scores.shape[:2], dtype=torch.int64)

    return bases(), scores.new_empty(scores.shape[:1], dtype=torch.int64), bases(), bases()


register(
    "basic_units",
    "(Tensor scores, int[] kernel_sizes, Tensor starts, Tensor ends)"
    " -> (Tensor token_index, Tensor num_tokens, Tensor token_center, Tensor token_expert)",
    cpu=rust.basic_units_forward,
    cuda="dnachunk.ops.basic_units.triton:forward",
    fake=_fake,
)
