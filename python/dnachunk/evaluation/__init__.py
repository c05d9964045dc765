"""Scoring models on held-out sequence, beside the baselines that they have to beat."""

from dnachunk.evaluation.fixed_context import FixedContextModel, best_fixed_context, letter_frequency_scores
from dnachunk.evaluation.masked_bases import (
    MaskedBaseScores,
    evaluate_corrupted_bases,
    evaluate_masked_bases,
    masked_base_sums,
)
from dnachunk.evaluation.metrics import score_predictions
from dnachunk.evaluation.strands import predict
from dnachunk.evaluation.zero_shot import (
    ZeroShotModel,
    masked_log_probabilities,
    read_variant,
    score_variants,
)

__all__ = [
    "FixedContextModel",
    "MaskedBaseScores",
    "ZeroShotModel",
    "best_fixed_context",
    "evaluate_corrupted_bases",
    "evaluate_masked_bases",
    "letter_frequency_scores",
    "masked_base_sums",
    "masked_log_probabilities",
    "predict",
    "read_variant",
    "score_predictions",
    "score_variants",
]
