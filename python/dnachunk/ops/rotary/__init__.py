"""Rotary positions of packed queries and keys."""

from dnachunk.ops.rotary.naive import rotary_naive
from dnachunk.ops.rotary.op import rotary

__all__ = ["rotary", "rotary_naive"]
