"""Registration and public function of ``neighbor_match``."""

from typing import Literal

import torch

from dnachunk._native import rust
from dnachunk.ops._backend import backend_of
from dnachunk.ops._check import check_dtype, check_same_device, check_shape, check_windows
from dnachunk.ops._register import register
from dnachunk.ops.neighbor_match.naive import neighbor_match_torch

# The GPU's kernel compares all positions of a window.
_LARGEST_WINDOW = 512

Budget = Literal["window", "sequence"]


def neighbor_match(
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_merges: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    budget: Budget = "window",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decides which neighbours merge, with exactly ``num_merges`` merges in each sequence.

    MergeDNA Sec. 3.3, Eq. 5: bipartite as in ToMe, restricted to neighbours inside a window. The 1st, 3rd, …
    position of a window is a candidate, the 2nd, 4th, … a keeper. A candidate proposes to its better-scoring
    neighbouring keeper; a keeper can take the candidates on both its sides.

    Args:
        scores: ``[B, N]`` float32 or float64; ``scores[b, i]`` is that of positions ``i`` and ``i + 1``.
            Rounded to multiples of 2⁻¹² (half to even; NaN counts as −2) before any comparison.
        lengths: ``[B]`` int64, real positions of each sequence, in ``[0, N]``.
        num_merges: ``[B]`` int64, from 0 to the number of candidates that have a keeper.
        window: Positions in a window, at least 1.
        shift: Positions in the first window if not 0, below ``window``.
        budget: ``"window"``: every window accepts its best ``⌊num_merges / windows⌋`` proposals, then the
            best of what is left in the sequence are accepted until there are ``num_merges``. ``"sequence"``:
            the best proposals of the whole sequence.

    Returns:
        ``token_index [B, N]`` int64, the token after merging that each position belongs to, −1 past the
        length; tokens are contiguous and numbered in order. ``threshold [B, N]`` in the dtype of ``scores``,
        midway between the last accepted and the first rejected score of the position's window (or sequence);
        where one of the two is missing the other, 0 where nothing proposes.

    Raises:
        TypeError: On a wrong dtype.
        ValueError: On a wrong shape, and on the CPU on lengths or budgets out of range (on other devices they
            are not read back: more merges than candidates merge all candidates).

    Note:
        A decision: no gradient. Kernels on CPU and, for windows of at most 512 positions, on GPU. Ties go to
        the left keeper and then to the lower position.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1, 0.2, 0.0]])
        >>> neighbor_match(scores, torch.tensor([4]), torch.tensor([1]), window=4)[0]
        tensor([[0, 0, 1, 2]])
    """
    op = "neighbor_match"
    check_shape(op, "scores", scores, ("B", "N"))
    check_shape(op, "lengths", lengths, (scores.shape[0],))
    check_shape(op, "num_merges", num_merges, (scores.shape[0],))
    if scores.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: scores must be float32 or float64, got {scores.dtype}")
    check_dtype(op, "lengths", lengths, torch.int64)
    check_dtype(op, "num_merges", num_merges, torch.int64)
    check_same_device(op, scores=scores, lengths=lengths, num_merges=num_merges)
    check_windows(op, window, shift)
    if budget not in ("window", "sequence"):
        raise ValueError(f"{op}: budget must be 'window' or 'sequence', got {budget!r}")
    scores = scores.detach()
    backend = backend_of(op, scores, lengths, num_merges)
    if backend == "torch" or (backend == "triton" and window > _LARGEST_WINDOW):
        return neighbor_match_torch(scores, lengths, num_merges, window, shift, budget)
    return torch.ops.dnachunk.neighbor_match(scores, lengths, num_merges, window, shift, budget)


def _fake(
    scores: torch.Tensor, _lengths: torch.Tensor, _num_merges: torch.Tensor, *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return scores.new_empty(scores.shape, dtype=torch.int64), scores.new_empty(scores.shape)


register(
    "neighbor_match",
    "(Tensor scores, Tensor lengths, Tensor num_merges, int window, int shift, str budget) "
    "-> (Tensor token_index, Tensor threshold)",
    cpu=rust.neighbor_match_forward,
    cuda="dnachunk.ops.neighbor_match.triton:forward",
    fake=_fake,
)
