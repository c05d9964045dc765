"""One vector for each chunk."""

from dnachunk.ops.chunk_pool.naive import chunk_pool_naive
from dnachunk.ops.chunk_pool.op import chunk_pool

__all__ = ["chunk_pool", "chunk_pool_naive"]
