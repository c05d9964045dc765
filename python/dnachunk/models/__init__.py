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

_SYSTEMS = ("DNAChunker", "MergeDNA", "MxDNA")
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        name: f"dnachunk.models.{system.lower()}"
        for name in __all__
        for system in _SYSTEMS
        if name.startswith(system)
    },
)
