"""The vectors of units back to their centres."""

from dnachunk.ops.unit_scatter.naive import unit_scatter_naive
from dnachunk.ops.unit_scatter.op import unit_scatter

__all__ = ["unit_scatter", "unit_scatter_naive"]
