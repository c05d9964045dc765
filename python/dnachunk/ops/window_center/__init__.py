"""What tells the positions of a window apart."""

from dnachunk.ops.window_center.naive import window_center_naive
from dnachunk.ops.window_center.op import window_center

__all__ = ["window_center", "window_center_naive"]
