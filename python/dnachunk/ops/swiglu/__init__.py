"""The gate of SwiGLU."""

from dnachunk.ops.swiglu.naive import swiglu_naive
from dnachunk.ops.swiglu.op import swiglu

__all__ = ["swiglu", "swiglu_naive"]
