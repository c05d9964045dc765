"""One-dimensional modulated deformable convolution."""

from dnachunk.ops.deformable_conv.naive import deformable_conv_naive
from dnachunk.ops.deformable_conv.op import deformable_conv

__all__ = ["deformable_conv", "deformable_conv_naive"]
