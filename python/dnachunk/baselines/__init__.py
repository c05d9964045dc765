"""Fixed tokenizers and an off-the-shelf encoder: what learned tokenizers are compared with."""

from dnachunk.baselines.model import baseline_config, forward_flops
from dnachunk.baselines.tokenizers import FixedTokenizer, Tokenization

__all__ = ["FixedTokenizer", "Tokenization", "baseline_config", "forward_flops"]
