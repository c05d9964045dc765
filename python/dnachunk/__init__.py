"""Learnable DNA tokenizers: a call for each job, operations, modules and Hugging Face models.

Importing the package loads neither torch nor ``transformers``: each name is loaded when it is asked for, and
``transformers``' Auto classes learn of the models when they are.
"""

from typing import TYPE_CHECKING

from dnachunk._lazy import after_import, lazy_names

if TYPE_CHECKING:
    from dnachunk._native import build_info
    from dnachunk.baselines import FixedTokenizer
    from dnachunk.evaluation import compare_tokens, score_mutations, score_variants
    from dnachunk.inference import embed_genome, load, tokenize_genome
    from dnachunk.models import (
        DNAChunkerConfig,
        DNAChunkerForMaskedLM,
        DNAChunkerForSequenceClassification,
        DNAChunkerForTokenClassification,
        DNAChunkerModel,
        MergeDNAConfig,
        MergeDNAForMaskedLM,
        MergeDNAForPreTraining,
        MergeDNAForSequenceClassification,
        MergeDNAForTokenClassification,
        MergeDNAModel,
        MxDNAConfig,
        MxDNAForMaskedLM,
        MxDNAForSequenceClassification,
        MxDNAForTokenClassification,
        MxDNAModel,
    )
    from dnachunk.segmentation import Segmentation
    from dnachunk.tokenization import DNATokenizer
    from dnachunk.training.compare import compare_models
    from dnachunk.training.finetune import finetune
    from dnachunk.training.pretrain import pretrain
    from dnachunk.version import __version__

__all__ = [
    "DNAChunkerConfig",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerModel",
    "DNATokenizer",
    "FixedTokenizer",
    "MergeDNAConfig",
    "MergeDNAForMaskedLM",
    "MergeDNAForPreTraining",
    "MergeDNAForSequenceClassification",
    "MergeDNAForTokenClassification",
    "MergeDNAModel",
    "MxDNAConfig",
    "MxDNAForMaskedLM",
    "MxDNAForSequenceClassification",
    "MxDNAForTokenClassification",
    "MxDNAModel",
    "Segmentation",
    "__version__",
    "build_info",
    "compare_models",
    "compare_tokens",
    "embed_genome",
    "finetune",
    "load",
    "pretrain",
    "score_mutations",
    "score_variants",
    "tokenize_genome",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, "dnachunk.models"),
        "DNATokenizer": "dnachunk.tokenization",
        "FixedTokenizer": "dnachunk.baselines",
        "Segmentation": "dnachunk.segmentation",
        "__version__": "dnachunk.version",
        "build_info": "dnachunk._native",
        **dict.fromkeys(("embed_genome", "load", "tokenize_genome"), "dnachunk.inference"),
        **dict.fromkeys(("compare_tokens", "score_mutations", "score_variants"), "dnachunk.evaluation"),
        "compare_models": "dnachunk.training.compare",
        "finetune": "dnachunk.training.finetune",
        "pretrain": "dnachunk.training.pretrain",
    },
)

after_import("transformers.models.auto.configuration_auto", ["dnachunk.models.auto_configurations"])
after_import(
    "transformers.models.auto.tokenization_auto", ["dnachunk.tokenization", "dnachunk.baselines.tokenizers"]
)
