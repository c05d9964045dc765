"""Plots of tokens, which need matplotlib (``pip install dnachunk[plot]``), and tokens in a genome browser."""

from dnachunk.visualization.boundary_profiles import plot_boundary_profiles
from dnachunk.visualization.boundary_survival import plot_boundary_survival
from dnachunk.visualization.browser_session import BrowserSession
from dnachunk.visualization.budget_accuracy import plot_budget_accuracy
from dnachunk.visualization.cost import plot_cost
from dnachunk.visualization.genome_browser import TokenBrowser, browse
from dnachunk.visualization.intervals import Estimate, plot_intervals
from dnachunk.visualization.receptive_positions import plot_receptive_positions
from dnachunk.visualization.run_lengths import plot_run_lengths
from dnachunk.visualization.token_comparison import plot_token_comparison
from dnachunk.visualization.token_lengths import plot_token_lengths
from dnachunk.visualization.token_map import plot_token_maps
from dnachunk.visualization.token_passes import plot_token_passes
from dnachunk.visualization.token_places import plot_token_places
from dnachunk.visualization.token_regions import plot_lengths_by_region
from dnachunk.visualization.token_strip import plot_token_strip

__all__ = [
    "BrowserSession",
    "Estimate",
    "TokenBrowser",
    "browse",
    "plot_boundary_profiles",
    "plot_boundary_survival",
    "plot_budget_accuracy",
    "plot_cost",
    "plot_intervals",
    "plot_lengths_by_region",
    "plot_receptive_positions",
    "plot_run_lengths",
    "plot_token_comparison",
    "plot_token_lengths",
    "plot_token_maps",
    "plot_token_passes",
    "plot_token_places",
    "plot_token_strip",
]
