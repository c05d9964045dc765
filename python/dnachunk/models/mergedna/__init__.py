"""MergeDNA: token merging inside local windows, a hierarchical autoencoder, adaptive masking."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.models.mergedna.modeling_mergedna import (
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)
from dnachunk.tokenization import DNATokenizer

AutoConfig.register("mergedna", MergeDNAConfig)
AutoModel.register(MergeDNAConfig, MergeDNAModel)
AutoModelForPreTraining.register(MergeDNAConfig, MergeDNAForPreTraining)
AutoModelForMaskedLM.register(MergeDNAConfig, MergeDNAForMaskedLM)
AutoModelForSequenceClassification.register(MergeDNAConfig, MergeDNAForSequenceClassification)
AutoModelForTokenClassification.register(MergeDNAConfig, MergeDNAForTokenClassification)
AutoTokenizer.register(MergeDNAConfig, DNATokenizer)

__all__ = [
    "MergeDNAConfig",
    "MergeDNAForMaskedLM",
    "MergeDNAForPreTraining",
    "MergeDNAForSequenceClassification",
    "MergeDNAForTokenClassification",
    "MergeDNAModel",
]
