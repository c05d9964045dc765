"""Ids to DNA strings."""

from dnachunk.ops.decode_dna.naive import decode_dna_naive
from dnachunk.ops.decode_dna.op import decode_dna

__all__ = ["decode_dna", "decode_dna_naive"]
