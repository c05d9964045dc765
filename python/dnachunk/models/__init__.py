"""Hugging Face models: a folder each, known to the Auto classes once their configurations are imported."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.models.dnachunker import (
        DNAChunkerConfig,
        DNAChunkerForMaskedLM,
        DNAChunkerForSequenceClassification,
        DNAChunkerForTokenClassification,
        DNAChunkerModel,
    )
    from dnachunk.models.mergedna import (
        MergeDNAConfig,
        MergeDNAForMaskedLM,
        MergeDNAForPreTraining,
        MergeDNAForSequenceClassification,
        MergeDNAForTokenClassification,
        MergeDNAModel,
    )
    from dnachunk.models.mxdna import (
        MxDNAConfig,
        MxDNAForMaskedLM,
        MxDNAForSequenceClassification,
        MxDNAForTokenClassification,
        MxDNAModel,
    )

__all__ = [
    "DNAChunkerConfig",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerModel",
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
]

MODEL_TYPES = ("dnachunker", "mergedna", "mxdna")
"""The models' names, as ``config.model_type`` has them: a folder each."""

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        name: f"dnachunk.models.{model_type}"
        for name in __all__
        for model_type in MODEL_TYPES
        if name.lower().startswith(model_type)
    },
)
