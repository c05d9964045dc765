"""Cosine similarity of neighbouring positions."""

from dnachunk.ops.neighbor_cosine.naive import neighbor_cosine_naive
from dnachunk.ops.neighbor_cosine.op import neighbor_cosine

__all__ = ["neighbor_cosine", "neighbor_cosine_naive"]
