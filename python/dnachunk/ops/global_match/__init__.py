"""Bipartite matching of similar tokens over a whole sequence."""

from dnachunk.ops.global_match.naive import global_match_naive, global_match_torch
from dnachunk.ops.global_match.op import global_match

__all__ = ["global_match", "global_match_naive", "global_match_torch"]
