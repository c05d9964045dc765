"""All plots of a comparison of tokenizers."""

import itertools
from typing import TYPE_CHECKING

from dnachunk.evaluation.token_comparison import TokenComparison
from dnachunk.evaluation.token_meaning import token_counts
from dnachunk.visualization.boundary_profiles import plot_boundary_profiles
from dnachunk.visualization.boundary_survival import plot_boundary_survival
from dnachunk.visualization.run_lengths import plot_run_lengths
from dnachunk.visualization.style import COLOURS
from dnachunk.visualization.token_regions import plot_lengths_by_region

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_token_comparison(comparison: TokenComparison) -> "dict[str, Figure]":
    """Lengths by region, runs of one letter, profiles around sites, and boundaries that survive mutations.

    Args:
        comparison: What :func:`~dnachunk.compare_tokens` found.

    Returns:
        By name, as far as there is something to draw: ``token_lengths``, ``runs``, ``profiles_motifs``,
        ``profiles_sites``, ``boundary_survival``.
    """
    figures = comparison.figures
    first = next(iter(figures.values()))
    # Of more regions than there are colours, those with most bases.
    order = sorted(comparison.regions, key=lambda name: -int(first.lengths[name].sum()))
    shown = [name for name in comparison.regions if name in order[: len(COLOURS)]]
    plots = {
        "token_lengths": plot_lengths_by_region(
            {
                label: {name: token_counts(found.lengths[name]) for name in shown}
                for label, found in figures.items()
            }
        ),
        "runs": plot_run_lengths(
            {
                label: (figures[label].letters, frequency)
                for label, frequency in itertools.islice(
                    comparison.boundary_frequencies.items(), len(COLOURS)
                )
            }
        ),
    }
    for name, of_kinds in comparison.profiles.items():
        if of_kinds:
            plots[f"profiles_{name}"] = plot_boundary_profiles(of_kinds)
    if comparison.survival:
        plots["boundary_survival"] = plot_boundary_survival(
            {
                f"{name}\n{found.bases_per_token:.2f} bp": dict(found.shares.items())
                for name, found in comparison.survival.items()
            }
        )
    return plots
