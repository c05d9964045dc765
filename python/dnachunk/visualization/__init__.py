"""Plots of tokens; they need matplotlib (``pip install dnachunk[plot]``)."""

from dnachunk.visualization.token_lengths import plot_token_lengths
from dnachunk.visualization.token_strip import plot_token_strip

__all__ = ["plot_token_lengths", "plot_token_strip"]
