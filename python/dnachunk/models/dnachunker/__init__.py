"""DNAChunker: two stages of learned chunking around a Transformer, with bidirectional Mamba at base level."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from dnachunk.models.dnachunker.configuration_dnachunker import DNAChunkerConfig
from dnachunk.models.dnachunker.modeling_dnachunker import (
    DNAChunkerForMaskedLM,
    DNAChunkerForSequenceClassification,
    DNAChunkerForTokenClassification,
    DNAChunkerModel,
)
from dnachunk.tokenization import DNATokenizer

AutoConfig.register("dnachunker", DNAChunkerConfig)
AutoModel.register(DNAChunkerConfig, DNAChunkerModel)
AutoModelForPreTraining.register(DNAChunkerConfig, DNAChunkerForMaskedLM)
AutoModelForMaskedLM.register(DNAChunkerConfig, DNAChunkerForMaskedLM)
AutoModelForSequenceClassification.register(DNAChunkerConfig, DNAChunkerForSequenceClassification)
AutoModelForTokenClassification.register(DNAChunkerConfig, DNAChunkerForTokenClassification)
AutoTokenizer.register(DNAChunkerConfig, DNATokenizer)

__all__ = [
    "DNAChunkerConfig",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerModel",
]
