"""What a model without learned features reaches on the windows that a run is evaluated on."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dnachunk.alphabet import MASK_ID
from dnachunk.data.genome import Genome
from dnachunk.data.masking import mask_bases, mask_seeds
from dnachunk.data.windows import HeldOutWindows, Interval, WindowCollator, held_out_spans
from dnachunk.evaluation.fixed_context import best_fixed_context
from dnachunk.evaluation.masked_bases import MaskedBaseScores

MAX_FITTED_BP = 64 << 20
"""Bases that the counts are taken from, at most; more hardly move 4¹¹ counts and take minutes."""

_PIECE_BP = 1 << 20


class Baseline(NamedTuple):
    """Scores of the fixed-context models.

    Attributes:
        best_width: Letters on each side of the best one.
        scores: Those of each width, from 0 (letter frequencies) on.
    """

    best_width: int
    scores: list[MaskedBaseScores]


def fixed_context_baseline(
    genomes: Sequence[Genome], holdout: Sequence[Interval], windows: HeldOutWindows, seed: int
) -> Baseline:
    """Fits fixed-context models outside the held-out intervals and scores them on windows of these.

    The windows are corrupted as :class:`~dnachunk.training.PreTrainer` does in evaluation with this seed.

    Args:
        genomes: Where the counts are taken, of :data:`MAX_FITTED_BP` bases spread evenly if they have more.
        holdout: Intervals that are left out.
        windows: What is scored.
        seed: The run's seed.

    Raises:
        ValueError: If no base of the windows shows ``[MASK]``.
    """
    batch = WindowCollator()([windows[index] for index in range(len(windows))])
    masked = mask_bases(batch["input_ids"], mask_seeds(seed, batch["sample_index"]))
    pieces = list(_training_pieces(genomes, holdout))
    total_bp = sum(end_bp - start_bp for _, _, start_bp, end_bp in pieces)
    step = max(1, -(-total_bp // MAX_FITTED_BP))
    sequences = (
        genome.fetch(record, start_bp, end_bp)[0] for genome, record, start_bp, end_bp in pieces[::step]
    )
    is_scored = masked.input_ids == MASK_ID
    return Baseline(*best_fixed_context(sequences, masked.input_ids, batch["input_ids"], is_scored))


def _training_pieces(
    genomes: Sequence[Genome], holdout: Sequence[Interval]
) -> Iterator[tuple[Genome, int, int, int]]:
    """Genome, record, start and end of pieces of about a million bases that hold no held-out base."""
    held_out = held_out_spans(genomes, holdout)
    for genome, spans_of_record in zip(genomes, held_out, strict=True):
        for index, record in enumerate(genome.records):
            start_bp = 0
            for held_start_bp, held_end_bp in [*spans_of_record.get(index, []), (record.length_bp, 0)]:
                for piece_bp in range(start_bp, held_start_bp, _PIECE_BP):
                    yield genome, index, piece_bp, min(piece_bp + _PIECE_BP, held_start_bp)
                start_bp = held_end_bp
