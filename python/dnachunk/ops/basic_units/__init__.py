"""Greedy non-maximum suppression of MxDNA's basic units."""

from dnachunk.ops.basic_units.naive import basic_units_naive, basic_units_torch
from dnachunk.ops.basic_units.op import basic_units

__all__ = ["basic_units", "basic_units_naive", "basic_units_torch"]
