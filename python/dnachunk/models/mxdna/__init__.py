"""MxDNA: convolution experts embed basic units, a deformable convolution assembles them into tokens."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig
    from dnachunk.models.mxdna.modeling_mxdna import (
        MxDNAForMaskedLM,
        MxDNAForSequenceClassification,
        MxDNAForTokenClassification,
        MxDNAModel,
    )

__all__ = [
    "MxDNAConfig",
    "MxDNAForMaskedLM",
    "MxDNAForSequenceClassification",
    "MxDNAForTokenClassification",
    "MxDNAModel",
]

_FOLDER = "dnachunk.models.mxdna"
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, f"{_FOLDER}.modeling_mxdna"),
        "MxDNAConfig": f"{_FOLDER}.configuration_mxdna",
    },
)
