"""Root-mean-square norm."""

from dnachunk.ops.rms_norm.naive import rms_norm_naive
from dnachunk.ops.rms_norm.op import rms_norm

__all__ = ["rms_norm", "rms_norm_naive"]
