"""MxDNA: convolution experts embed basic units, a deformable convolution assembles them into tokens."""

from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig
from dnachunk.models.mxdna.modeling_mxdna import (
    MxDNAForMaskedLM,
    MxDNAForSequenceClassification,
    MxDNAForTokenClassification,
    MxDNAModel,
    between_special_tokens,
    expert_counts,
)

__all__ = [
    "MxDNAConfig",
    "MxDNAForMaskedLM",
    "MxDNAForSequenceClassification",
    "MxDNAForTokenClassification",
    "MxDNAModel",
    "between_special_tokens",
    "expert_counts",
]
