"""Hugging Face models, and their registration with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

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
from dnachunk.tokenization import DNATokenizer

_CLASSES = (
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
_MODELS = {
    MergeDNAConfig: (
        MergeDNAModel,
        MergeDNAForPreTraining,
        MergeDNAForMaskedLM,
        MergeDNAForSequenceClassification,
        MergeDNAForTokenClassification,
    ),
    DNAChunkerConfig: (
        DNAChunkerModel,
        DNAChunkerForMaskedLM,
        DNAChunkerForMaskedLM,
        DNAChunkerForSequenceClassification,
        DNAChunkerForTokenClassification,
    ),
    MxDNAConfig: (
        MxDNAModel,
        MxDNAForMaskedLM,
        MxDNAForMaskedLM,
        MxDNAForSequenceClassification,
        MxDNAForTokenClassification,
    ),
}
for _config, _models in _MODELS.items():
    AutoConfig.register(_config.model_type, _config)
    AutoTokenizer.register(_config, DNATokenizer)
    for _class, _model in zip(_CLASSES, _models, strict=True):
        _class.register(_config, _model)

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
