"""Tokens back to positions, and its adjoint."""

from dnachunk.ops.token_unmerge.naive import token_sum_naive, token_unmerge_naive
from dnachunk.ops.token_unmerge.op import token_sum, token_unmerge

__all__ = ["token_sum", "token_sum_naive", "token_unmerge", "token_unmerge_naive"]
