"""Depthwise causal convolution."""

from dnachunk.ops.causal_conv.naive import causal_conv_naive
from dnachunk.ops.causal_conv.op import causal_conv

__all__ = ["causal_conv", "causal_conv_naive"]
