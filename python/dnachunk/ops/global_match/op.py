"""Registration and public function of ``global_match``."""

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_float, check_same_device, check_shape
from dnachunk.ops._register import register
from dnachunk.ops.global_match.naive import global_match_torch


def global_match(metric: torch.Tensor, lengths: torch.Tensor, num_merges: torch.Tensor) -> torch.Tensor:
    """Decides which tokens of a sequence join which, by ToMe's bipartite matching over the whole sequence.

    In each sequence the tokens at even places (the first, the third, …) are candidates, the others keepers.
    The score of a pair is the cosine of its vectors, norms clamped from below at 1e-8, rounded to multiples
    of 2⁻¹² (half to even) before any comparison. A candidate proposes to its best keeper, ties to the lower
    position; the best ``num_merges`` proposals are accepted, ties to the lower candidate. An accepted
    candidate joins its keeper; a keeper can take any number. Source: ToMe (Bolya et al. 2023) Sec. 3, as
    MergeDNA's latent encoder uses it.

    Args:
        metric: ``[B, L, C]`` float32, float64, bfloat16 or float16: what is compared, in MergeDNA the
            attention keys averaged over heads. Whatever lies at or after a sequence's length is ignored.
        lengths: ``[B]`` int64: real tokens of each sequence, in [0, L].
        num_merges: ``[B]`` int64: tokens to remove, in [0, ⌈length / 2⌉], 0 for a length below 2.

    Returns:
        ``token_index [B, L]`` int64: the new token of each old one, ``0 .. length - num_merges - 1`` in order
        of the surviving tokens' positions; −1 at and after the length.

    Raises:
        TypeError: If ``metric`` is not floating point, or a count not int64.
        ValueError: If shapes or devices do not fit, or a count is out of range; on devices without a kernel
            counts are not read, and what is too large counts as the largest that is allowed.

    Note:
        Kernels on CPU and GPU; a decision, so no gradient. Cosines are computed in float32 (float64 for
        float64); the similarity matrix is never held whole: memory is O(L·C). The same for any number of
        threads. Forms sum in different orders, so they can differ where an exact cosine lies within rounding
        of a half step.
        A cosine that is not a number is below every other.

    Example:
        >>> metric = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [2.0, 0.0]]])
        >>> global_match(metric, torch.tensor([4]), torch.tensor([1]))
        tensor([[2, 0, 1, 2]])
    """
    check_shape("global_match", "metric", metric, ("B", "L", "C"))
    check_float("global_match", "metric", metric)
    for argument, counts in (("lengths", lengths), ("num_merges", num_merges)):
        check_shape("global_match", argument, counts, metric.shape[:1])
        check_dtype("global_match", argument, counts, torch.int64)
    check_same_device("global_match", metric=metric, lengths=lengths, num_merges=num_merges)
    if backend_of("global_match", metric) == "torch":
        return global_match_torch(metric, lengths, num_merges)
    return torch.ops.dnachunk.global_match(metric.detach(), lengths, num_merges)


register(
    "global_match",
    "(Tensor metric, Tensor lengths, Tensor num_merges) -> Tensor",
    cpu=rust.global_match_forward,
    cuda="dnachunk.ops.global_match.triton:forward",
    fake=lambda metric, _lengths, _num_merges: metric.new_empty(metric.shape[:2], dtype=torch.int64),
    # Every candidate by every keeper.
    flops=lambda metric, *_: 2 * metric[0] * ((metric[1] + 1) // 2) * (metric[1] // 2) * metric[2],
)
