"""Hugging Face models, and their registration with the Auto classes."""

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
