"""Drop-in modules: each is usable alone in somebody else's model."""

from dnachunk.nn.attention import CrossAttention, SelfAttention, WindowAttention
from dnachunk.nn.basic_units import BasicUnits, GridUnits, SelectedUnits
from dnachunk.nn.chunking import CausalDechunk, Chunk, Chunks, Dechunk, GridRouter, Router, Routing
from dnachunk.nn.convolution_experts import ConvolutionExperts
from dnachunk.nn.deformable import DeformableConv1d, DeformableConvOutput
from dnachunk.nn.learnt_tokenization import LearntTokenization, LearntTokens
from dnachunk.nn.mamba import BiMamba, Mamba
from dnachunk.nn.mlp import SwiGLU
from dnachunk.nn.norm import RMSNorm
from dnachunk.nn.rotary import RotaryEmbedding
from dnachunk.nn.token_merge import MergedTokens, TokenMerge, merge_schedule

__all__ = [
    "BasicUnits",
    "BiMamba",
    "CausalDechunk",
    "Chunk",
    "Chunks",
    "ConvolutionExperts",
    "CrossAttention",
    "Dechunk",
    "DeformableConv1d",
    "DeformableConvOutput",
    "GridRouter",
    "GridUnits",
    "LearntTokenization",
    "LearntTokens",
    "Mamba",
    "MergedTokens",
    "RMSNorm",
    "RotaryEmbedding",
    "Router",
    "Routing",
    "SelectedUnits",
    "SelfAttention",
    "SwiGLU",
    "TokenMerge",
    "WindowAttention",
    "merge_schedule",
]
