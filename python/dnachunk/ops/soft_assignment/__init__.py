"""How much of itself each candidate gives to its neighbours: a relaxed top-r in windows."""

from dnachunk.ops.soft_assignment.naive import soft_assignment_naive
from dnachunk.ops.soft_assignment.op import soft_assignment

__all__ = ["soft_assignment", "soft_assignment_naive"]
