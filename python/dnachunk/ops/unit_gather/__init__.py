"""The bases of units out of sequences, and the units' vectors back to their centres."""

from dnachunk.ops.unit_gather.naive import unit_gather_naive, unit_scatter_naive
from dnachunk.ops.unit_gather.op import unit_gather, unit_scatter

__all__ = ["unit_gather", "unit_gather_naive", "unit_scatter", "unit_scatter_naive"]
