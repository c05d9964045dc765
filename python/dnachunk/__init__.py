"""Learnable DNA tokenizers: operations, modules and Hugging Face models."""

from dnachunk._native import build_info
from dnachunk.models import (
    MergeDNAConfig,
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)
from dnachunk.segmentation import Segmentation
from dnachunk.tokenization import DNATokenizer

__version__ = build_info()["version"]
__all__ = [
    "DNATokenizer",
    "MergeDNAConfig",
    "MergeDNAForMaskedLM",
    "MergeDNAForPreTraining",
    "MergeDNAForSequenceClassification",
    "MergeDNAForTokenClassification",
    "MergeDNAModel",
    "Segmentation",
    "__version__",
    "build_info",
]
