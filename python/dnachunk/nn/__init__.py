"""Drop-in modules: each is usable alone in somebody else's model."""

from dnachunk.nn.attention import SelfAttention, WindowAttention
from dnachunk.nn.mlp import SwiGLU
from dnachunk.nn.norm import RMSNorm
from dnachunk.nn.rotary import RotaryEmbedding
from dnachunk.nn.token_merge import MergedTokens, TokenMerge, merge_schedule

__all__ = [
    "MergedTokens",
    "RMSNorm",
    "RotaryEmbedding",
    "SelfAttention",
    "SwiGLU",
    "TokenMerge",
    "WindowAttention",
    "merge_schedule",
]
