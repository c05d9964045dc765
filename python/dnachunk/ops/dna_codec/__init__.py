"""DNA strings to ids and back."""

from dnachunk.ops.dna_codec.naive import decode_dna_naive, encode_dna_naive
from dnachunk.ops.dna_codec.op import decode_dna, encode_dna

__all__ = ["decode_dna", "decode_dna_naive", "encode_dna", "encode_dna_naive"]
