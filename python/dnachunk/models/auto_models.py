"""Makes the models known to ``AutoModel`` and its like, and their tokenizer to ``AutoTokenizer``."""

from transformers import (
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
from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.models.mergedna.modeling_mergedna import (
    MergeDNAForMaskedLM,
    MergeDNAForPreTraining,
    MergeDNAForSequenceClassification,
    MergeDNAForTokenClassification,
    MergeDNAModel,
)
from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig
from dnachunk.models.mxdna.modeling_mxdna import (
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
    AutoTokenizer.register(_config, DNATokenizer)
    for _class, _model in zip(_CLASSES, _models, strict=True):
        _class.register(_config, _model)
