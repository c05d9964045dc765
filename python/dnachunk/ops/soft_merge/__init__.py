"""Positions into tokens by shares of their mass."""

from dnachunk.ops.soft_merge.naive import soft_merge_naive
from dnachunk.ops.soft_merge.op import soft_merge

__all__ = ["soft_merge", "soft_merge_naive"]
