"""MxDNA: convolution experts embed basic units, a deformable convolution assembles them into tokens."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig
from dnachunk.models.mxdna.modeling_mxdna import (
    MxDNAForMaskedLM,
    MxDNAForSequenceClassification,
    MxDNAForTokenClassification,
    MxDNAModel,
    between_special_tokens,
)
from dnachunk.tokenization import DNATokenizer

AutoConfig.register("mxdna", MxDNAConfig)
AutoModel.register(MxDNAConfig, MxDNAModel)
AutoModelForPreTraining.register(MxDNAConfig, MxDNAForMaskedLM)
AutoModelForMaskedLM.register(MxDNAConfig, MxDNAForMaskedLM)
AutoModelForSequenceClassification.register(MxDNAConfig, MxDNAForSequenceClassification)
AutoModelForTokenClassification.register(MxDNAConfig, MxDNAForTokenClassification)
AutoTokenizer.register(MxDNAConfig, DNATokenizer)

__all__ = [
    "MxDNAConfig",
    "MxDNAForMaskedLM",
    "MxDNAForSequenceClassification",
    "MxDNAForTokenClassification",
    "MxDNAModel",
    "between_special_tokens",
]
