"""Chunks back to positions, smoothed in both directions."""

from dnachunk.ops.dechunk.naive import dechunk_naive
from dnachunk.ops.dechunk.op import dechunk

__all__ = ["dechunk", "dechunk_naive"]
