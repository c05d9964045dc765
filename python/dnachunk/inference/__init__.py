"""Trained models and fixed tokenizers at work: loading, whole genomes cut into tokens, and their vectors."""

from typing import TYPE_CHECKING

from dnachunk._lazy import lazy_names

if TYPE_CHECKING:
    from dnachunk.inference.embeddings import Embeddings, embed_genome
    from dnachunk.inference.genome import GenomeTokens, Token, TokenStatistics, tokenize_genome
    from dnachunk.inference.segmenter import Segmenter
    from dnachunk.inference.tokens import encode_rows, load, mean_vectors

__all__ = [
    "Embeddings",
    "GenomeTokens",
    "Segmenter",
    "Token",
    "TokenStatistics",
    "embed_genome",
    "encode_rows",
    "load",
    "mean_vectors",
    "tokenize_genome",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(__all__, "dnachunk.inference.genome"),
        **dict.fromkeys(("Embeddings", "embed_genome"), "dnachunk.inference.embeddings"),
        "Segmenter": "dnachunk.inference.segmenter",
        **dict.fromkeys(("encode_rows", "load", "mean_vectors"), "dnachunk.inference.tokens"),
    },
)
