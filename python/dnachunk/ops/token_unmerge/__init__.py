"""Tokens back to positions."""

from dnachunk.ops.token_unmerge.naive import token_unmerge_naive
from dnachunk.ops.token_unmerge.op import token_unmerge

__all__ = ["token_unmerge", "token_unmerge_naive"]
