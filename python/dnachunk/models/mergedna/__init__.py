"""MergeDNA: token merging inside local windows, a hierarchical autoencoder, adaptive masking."""

from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.models.mergedna.modeling_mergedna import (
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)

__all__ = [
    "MergeDNAConfig",
    "MergeDNAForMaskedLM",
    "MergeDNAForPreTraining",
    "MergeDNAForSequenceClassification",
    "MergeDNAForTokenClassification",
    "MergeDNAModel",
]
