"""MergeDNA: token merging inside local windows, a hierarchical autoencoder, adaptive masking."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
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

_FOLDER = "dnachunk.models.mergedna"
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, f"{_FOLDER}.modeling_mergedna"),
        "MergeDNAConfig": f"{_FOLDER}.configuration_mergedna",
    },
)
