"""DNA strings to ids."""

from dnachunk.ops.encode_dna.naive import encode_dna_naive
from dnachunk.ops.encode_dna.op import encode_dna

__all__ = ["encode_dna", "encode_dna_naive"]
