"""Rows of the bases of units out of sequences."""

from dnachunk.ops.unit_gather.naive import unit_gather_naive
from dnachunk.ops.unit_gather.op import unit_gather

__all__ = ["unit_gather", "unit_gather_naive"]
