"""Makes the configurations known to ``AutoConfig``; the first that is made or read loads ``auto_models``."""

from transformers import AutoConfig

from dnachunk.models.dnachunker.configuration_dnachunker import DNAChunkerConfig
from dnachunk.models.mergedna.configuration_mergedna import MergeDNAConfig
from dnachunk.models.mxdna.configuration_mxdna import MxDNAConfig

for _configuration in (MergeDNAConfig, DNAChunkerConfig, MxDNAConfig):
    AutoConfig.register(_configuration.model_type, _configuration)
