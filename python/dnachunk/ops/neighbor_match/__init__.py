"""Which neighbours merge: bipartite matching inside windows."""

from dnachunk.ops.neighbor_match.naive import neighbor_match_naive
from dnachunk.ops.neighbor_match.op import neighbor_match

__all__ = ["neighbor_match", "neighbor_match_naive"]
