"""The baseline every learned model must beat: counts of a base given the letters next to it."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from dnachunk.alphabet import A_ID, BASES, is_base
from dnachunk.evaluation.masked_bases import MaskedBaseScores, masked_base_sums
from dnachunk.ops._check import check_dtype, check_shape

MAX_WIDTH = 5
_UNKNOWN = len(BASES)
_PIECE_BP = 1 << 20


class FixedContextModel:
    """Probabilities of a base given up to five letters on each side, from counts with add-half smoothing.

    A neighbour that is no letter (``[MASK]``, ``N``, padding) or lies outside the sequence is unknown: the
    counts are summed over it, in fitting and in predicting alike. So a base in any context of known and
    unknown neighbours has ``p(x | known) = (count(x, known) + 1/2) / (count(known) + 2)``.

    Attributes:
        counts: ``[5] * 2 width + [4]`` int64 on the CPU. One dimension per neighbour (A, C, G, T,
            unknown), from the leftmost to the rightmost, then one for the base itself. 312 MB at width 5.
    """

    def __init__(self, counts: torch.Tensor) -> None:
        self.counts = counts

    @property
    def width(self) -> int:
        """Number of neighbours on each side."""
        return (self.counts.dim() - 1) // 2

    @classmethod
    def fit(
        cls, sequences: Iterable[torch.Tensor], width: int, *, both_strands: bool = True
    ) -> "FixedContextModel":
        """Counts every base of the sequences in its context.

        Args:
            sequences: Each ``[N]`` uint8 ids of one record or window; read once, one after another.
            width: Neighbours on each side, 0 (letter frequencies) to 5.
            both_strands: Whether to count the reverse complement too, as training windows show it.

        Raises:
            TypeError: If a sequence is not uint8.
            ValueError: If ``width`` is out of range or a sequence is not one-dimensional.
        """
        _check_width("FixedContextModel.fit", width, MAX_WIDTH)
        counts = torch.zeros([_UNKNOWN + 1] * (2 * width) + [len(BASES)], dtype=torch.int64)
        for sequence in sequences:
            check_shape("FixedContextModel.fit", "sequences[i]", sequence, ("N",))
            check_dtype("FixedContextModel.fit", "sequences[i]", sequence, torch.uint8)
            _count(counts, sequence, width, both_strands)
        for dimension in range(2 * width):
            known = counts.narrow(dimension, 0, _UNKNOWN)
            counts.select(dimension, _UNKNOWN).add_(known.sum(dimension))
        return cls(counts)

    def narrow(self, width: int) -> "FixedContextModel":
        """The model of fewer neighbours on the same sequences: exactly what :meth:`fit` would give.

        Args:
            width: From 0 to this model's own.

        Raises:
            ValueError: If ``width`` is out of range.
        """
        _check_width("FixedContextModel.narrow", width, self.width)
        counts = self.counts
        for _ in range(self.width - width):
            counts = counts.select(0, _UNKNOWN).select(-2, _UNKNOWN)
        return FixedContextModel(counts)

    def predict(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of A, C, G, T at every position, from its neighbours as they are shown.

        Args:
            input_ids: ``[B, N]`` int64; what a position itself shows is not read.

        Returns:
            ``[B, N, 4]`` float64 on the CPU.

        Raises:
            TypeError: If ``input_ids`` is not int64.
            ValueError: If it is not of rank 2.
        """
        check_shape("FixedContextModel.predict", "input_ids", input_ids, ("B", "N"))
        check_dtype("FixedContextModel.predict", "input_ids", input_ids, torch.int64)
        codes = F.pad(_codes(input_ids.cpu()), (self.width, self.width), value=_UNKNOWN)
        table = self.counts.reshape(-1, len(BASES))
        smoothed = table[_context_index(codes, self.width)].double() + 0.5
        return (smoothed / smoothed.sum(dim=-1, keepdim=True)).log()


def letter_frequency_scores(
    sequences: Iterable[torch.Tensor], input_ids: torch.Tensor, labels: torch.Tensor, is_scored: torch.Tensor
) -> MaskedBaseScores:
    """What the letter frequencies alone reach: the fixed-context model of width 0.

    Args:
        sequences: Training sequences, as for :meth:`FixedContextModel.fit`.
        input_ids: ``[B, N]`` int64: the corrupted input.
        labels: ``[B, N]`` int64: the true ids, at least where scored.
        is_scored: ``[B, N]`` bool.

    Raises:
        TypeError: If a dtype does not fit.
        ValueError: If a shape does not fit, a scored label is no letter, or nothing is scored.
    """
    model = FixedContextModel.fit(sequences, 0)
    return _scores("letter_frequency_scores", model, input_ids, labels, is_scored)


def best_fixed_context(
    sequences: Iterable[torch.Tensor], input_ids: torch.Tensor, labels: torch.Tensor, is_scored: torch.Tensor
) -> tuple[int, list[MaskedBaseScores]]:
    """Fits every width from 0 to 5 on both strands and scores each on the same corrupted input.

    Args:
        sequences: Training sequences, as for :meth:`FixedContextModel.fit`; none of the scored ones.
        input_ids: ``[B, N]`` int64: the corrupted input, as the compared model sees it.
        labels: ``[B, N]`` int64: the true ids, at least where scored.
        is_scored: ``[B, N]`` bool.

    Returns:
        The width with the fewest nats on these bases, which favours the baseline, and the scores by width.

    Raises:
        TypeError: If a dtype does not fit.
        ValueError: If a shape does not fit, a scored label is no letter, or nothing is scored.
    """
    widest = FixedContextModel.fit(sequences, MAX_WIDTH)
    scores = [
        _scores("best_fixed_context", widest.narrow(width), input_ids, labels, is_scored)
        for width in range(MAX_WIDTH + 1)
    ]
    return min(range(MAX_WIDTH + 1), key=lambda width: scores[width].masked_nats), scores


def _scores(
    function: str,
    model: FixedContextModel,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    is_scored: torch.Tensor,
) -> MaskedBaseScores:
    check_shape(function, "input_ids", input_ids, ("B", "N"))
    check_shape(function, "labels", labels, input_ids.shape)
    check_shape(function, "is_scored", is_scored, input_ids.shape)
    check_dtype(function, "is_scored", is_scored, torch.bool)
    labels, is_scored = labels.cpu(), is_scored.cpu()
    log_probabilities = model.predict(input_ids)[is_scored]
    return MaskedBaseScores.from_sums(masked_base_sums(log_probabilities, labels[is_scored]))


def _check_width(function: str, width: int, largest: int) -> None:
    if not 0 <= width <= largest:
        raise ValueError(f"{function}: width must be from 0 to {largest}, got {width}")


def _codes(ids: torch.Tensor) -> torch.Tensor:
    """0 to 3 for a letter, 4 for anything else."""
    return torch.where(is_base(ids), ids - A_ID, _UNKNOWN)


def _context_index(codes: torch.Tensor, width: int) -> torch.Tensor:
    """The neighbours' codes read as one number in base 5; ``codes`` extends by ``width`` on each side."""
    length = codes.shape[-1] - 2 * width
    index = torch.zeros((*codes.shape[:-1], length), dtype=torch.int64)
    for offset in range(2 * width + 1):
        if offset != width:
            index.mul_(_UNKNOWN + 1).add_(codes[..., offset : offset + length])
    return index


def _count(counts: torch.Tensor, sequence: torch.Tensor, width: int, both_strands: bool) -> None:
    """Adds the bases of a sequence to ``counts``, in pieces: eight-byte indices of a genome would not fit."""
    codes = F.pad(_codes(sequence), (width, width), value=_UNKNOWN)
    for start in range(0, len(sequence), _PIECE_BP):
        piece = codes[start : start + _PIECE_BP + 2 * width]
        _count_piece(counts, piece, width)
        if both_strands:
            _count_piece(counts, torch.where(piece < _UNKNOWN, _UNKNOWN - 1 - piece, piece).flip(0), width)


def _count_piece(counts: torch.Tensor, codes: torch.Tensor, width: int) -> None:
    bases = codes[width : len(codes) - width]
    index = _context_index(codes, width).mul_(len(BASES)).add_(bases)[bases != _UNKNOWN]
    counts.view(-1).scatter_add_(0, index, torch.ones_like(index))
