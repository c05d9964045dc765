"""The sum over each token's positions."""

from dnachunk.ops.token_sum.naive import token_sum_naive
from dnachunk.ops.token_sum.op import token_sum

__all__ = ["token_sum", "token_sum_naive"]
