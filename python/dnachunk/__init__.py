"""Learnable DNA tokenizers: operations, modules and Hugging Face models."""

from dnachunk._native import build_info
from dnachunk.baselines import FixedTokenizer
from dnachunk.models import (
    DNAChunkerConfig,
    DNAChunkerForMaskedLM,
    DNAChunkerForSequenceClassification,
    DNAChunkerForTokenClassification,
    DNAChunkerModel,
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
    MxDNAConfig,
    MxDNAForMaskedLM,
    MxDNAForSequenceClassification,
    MxDNAForTokenClassification,
    MxDNAModel,
)
from dnachunk.segmentation import Segmentation
from dnachunk.tokenization import DNATokenizer

__version__ = build_info()["version"]
__all__ = [
    "DNAChunkerConfig",
    "DNAChunkerForMaskedLM",
    "DNAChunkerForSequenceClassification",
    "DNAChunkerForTokenClassification",
    "DNAChunkerModel",
    "DNATokenizer",
    "FixedTokenizer",
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
    "Segmentation",
    "__version__",
    "build_info",
]
