"""DNAChunker: two stages of learned chunking around a Transformer, with bidirectional Mamba at base level."""

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
