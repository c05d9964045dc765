"""All plots of a comparison of tokenizers."""

import itertools
from typing import TYPE_CHECKING

from dnachunk.evaluation.token_comparison import TokenComparison
from dnachunk.evaluation.token_meaning import Band, token_counts
from dnachunk.visualization.boundary_profiles import plot_boundary_profiles
from dnachunk.visualization.boundary_survival import plot_boundary_survival
from dnachunk.visualization.intervals import Estimate, plot_intervals
from dnachunk.visualization.run_lengths import plot_run_lengths
from dnachunk.visualization.style import COLOURS
from dnachunk.visualization.token_regions import plot_lengths_by_region

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MOTIFS = 40
"""Motifs that are shown, beside all together."""


def plot_token_comparison(comparison: TokenComparison) -> "dict[str, Figure]":
    """Lengths by region, runs, profiles around sites, survival of boundaries; motifs and variants if given.

    Args:
        comparison: What :func:`~dnachunk.compare_tokens` found.

    Returns:
        By name, as far as there is something to draw: ``token_lengths``, ``runs``, ``profiles_motifs``,
        ``profiles_sites``, ``boundary_survival``, ``motifs``, ``variants``.
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
    looked_at = [name for name, found in comparison.motifs.items() if found.tokenizers]
    # The last is all of them together.
    groups = {
        name: comparison.motifs[name].tokenizers for name in [*looked_at[:-1][:MOST_MOTIFS], *looked_at[-1:]]
    }
    if groups:
        plots["motifs"] = plot_intervals(
            {
                title: {
                    motif: {
                        name: _estimate(cuts.observed, index, cuts.shuffled)
                        for name, cuts in itertools.islice(of_names.items(), len(COLOURS))
                    }
                    for motif, of_names in groups.items()
                }
                for index, title in enumerate(("Tokens each", "In one token", "Tokens begin at edges"))
            }
        )
    kinds = {} if comparison.variants is None else comparison.variants.kinds
    bands = {kind: found.tokenizers for kind, found in kinds.items() if found.tokenizers}
    if bands:
        plots["variants"] = plot_intervals(
            {
                title: {
                    kind: {
                        name: _estimate(band, index)
                        for name, band in itertools.islice(of_names.items(), len(COLOURS))
                    }
                    for kind, of_names in bands.items()
                }
                for index, title in enumerate(("Boundary Jaccard", "Edit similarity of tokens"))
            }
        )
    return plots


def _estimate(band: Band, index: int, control: Band | None = None) -> Estimate:
    mean, low, high = (values[index].item() for values in band)
    return Estimate(mean, low, high, None if control is None else control.mean[index].item())
