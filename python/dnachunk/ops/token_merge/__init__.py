"""Positions into tokens: the size-weighted mean and its straight-through gradient."""

from dnachunk.ops.token_merge.naive import token_merge_naive
from dnachunk.ops.token_merge.op import token_merge

__all__ = ["token_merge", "token_merge_naive"]
