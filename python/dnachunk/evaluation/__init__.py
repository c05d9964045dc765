"""Scoring models on held-out sequence and on variants, and tokenizers by what they cut, beside baselines."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.evaluation.cost import Cost, CostProfile, ModelCost, profile
    from dnachunk.evaluation.fixed_context import (
        FixedContextModel,
        best_fixed_context,
        letter_frequency_scores,
    )
    from dnachunk.evaluation.masked_bases import (
        MaskedBaseScores,
        evaluate_corrupted_bases,
        evaluate_masked_bases,
        masked_base_sums,
    )
    from dnachunk.evaluation.metrics import score_predictions
    from dnachunk.evaluation.mutation_scores import MutationScores, score_mutations
    from dnachunk.evaluation.predictions import Prediction, Predictions, predict
    from dnachunk.evaluation.strands import predict_logits
    from dnachunk.evaluation.token_comparison import TokenComparison, compare_tokens
    from dnachunk.evaluation.variant_scores import ScoredAllele, VariantScores, VariantSummary, score_variants
    from dnachunk.evaluation.zero_shot import (
        ZeroShotModel,
        masked_log_probabilities,
        read_variant,
        score_alleles,
    )
    from dnachunk.evaluation.zero_shot_model import load_zero_shot, make_zero_shot_model

__all__ = [
    "Cost",
    "CostProfile",
    "FixedContextModel",
    "MaskedBaseScores",
    "ModelCost",
    "MutationScores",
    "Prediction",
    "Predictions",
    "ScoredAllele",
    "TokenComparison",
    "VariantScores",
    "VariantSummary",
    "ZeroShotModel",
    "best_fixed_context",
    "compare_tokens",
    "evaluate_corrupted_bases",
    "evaluate_masked_bases",
    "letter_frequency_scores",
    "load_zero_shot",
    "make_zero_shot_model",
    "masked_base_sums",
    "masked_log_probabilities",
    "predict",
    "predict_logits",
    "profile",
    "read_variant",
    "score_alleles",
    "score_mutations",
    "score_predictions",
    "score_variants",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("Cost", "CostProfile", "ModelCost", "profile"), "dnachunk.evaluation.cost"),
        **dict.fromkeys(
            ("FixedContextModel", "best_fixed_context", "letter_frequency_scores"),
            "dnachunk.evaluation.fixed_context",
        ),
        **dict.fromkeys(
            ("MaskedBaseScores", "evaluate_corrupted_bases", "evaluate_masked_bases", "masked_base_sums"),
            "dnachunk.evaluation.masked_bases",
        ),
        "score_predictions": "dnachunk.evaluation.metrics",
        **dict.fromkeys(("MutationScores", "score_mutations"), "dnachunk.evaluation.mutation_scores"),
        **dict.fromkeys(("Prediction", "Predictions", "predict"), "dnachunk.evaluation.predictions"),
        "predict_logits": "dnachunk.evaluation.strands",
        **dict.fromkeys(("TokenComparison", "compare_tokens"), "dnachunk.evaluation.token_comparison"),
        **dict.fromkeys(
            ("ScoredAllele", "VariantScores", "VariantSummary", "score_variants"),
            "dnachunk.evaluation.variant_scores",
        ),
        **dict.fromkeys(
            ("ZeroShotModel", "masked_log_probabilities", "read_variant", "score_alleles"),
            "dnachunk.evaluation.zero_shot",
        ),
        **dict.fromkeys(("load_zero_shot", "make_zero_shot_model"), "dnachunk.evaluation.zero_shot_model"),
    },
)
