"""DNAChunker: two stages of learned chunking around a Transformer, with bidirectional Mamba at base level."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.models.dnachunker.configuration_dnachunker import DNAChunkerConfig
    from dnachunk.models.dnachunker.modeling_dnachunker import (
        DNAChunkerForMaskedLM,
        DNAChunkerForSequenceClassification,
        DNAChunkerForTokenClassification,
        DNAChunkerModel,
    )

__all__ = [
    "DNAChunkerConfig",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerModel",
]

_FOLDER = "dnachunk.models.dnachunker"
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, f"{_FOLDER}.modeling_dnachunker"),
        "DNAChunkerConfig": f"{_FOLDER}.configuration_dnachunker",
    },
)
