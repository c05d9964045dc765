"""Where chunks begin, by the cosine of neighbours."""

from dnachunk.ops.boundary_routing.naive import boundary_routing_naive
from dnachunk.ops.boundary_routing.op import boundary_routing

__all__ = ["boundary_routing", "boundary_routing_naive"]
