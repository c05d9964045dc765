"""All plots of a comparison of tokenizers."""

import itertools
from typing import TYPE_CHECKING

from dnachunk.evaluation.token_comparison import TokenComparison
from dnachunk.evaluation.token_meaning import ALL, Band, bases_per_token, token_counts
from dnachunk.evaluation.token_tables import shown_places
from dnachunk.visualization.boundary_profiles import plot_boundary_profiles
from dnachunk.visualization.boundary_survival import plot_boundary_survival
from dnachunk.visualization.budget_accuracy import plot_budget_accuracy
from dnachunk.visualization.intervals import Estimate, plot_intervals
from dnachunk.visualization.run_lengths import plot_run_lengths
from dnachunk.visualization.style import COLOURS
from dnachunk.visualization.token_map import plot_token_maps
from dnachunk.visualization.token_passes import plot_token_passes
from dnachunk.visualization.token_places import plot_token_places
from dnachunk.visualization.token_regions import plot_lengths_by_region

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MOTIFS = 40
"""Motifs that are shown, beside all together."""


def plot_token_comparison(comparison: TokenComparison) -> "dict[str, Figure]":
    """Lengths by region, runs, profiles around sites, survival of boundaries, and what else was asked for.

    Args:
        comparison: What :func:`~dnachunk.compare_tokens` found.

    Returns:
        By name, as far as there is something to draw: ``token_lengths``, ``runs``, ``profiles_motifs``,
        ``profiles_sites``, ``boundary_survival``, ``motifs``, ``variants``, ``places``, ``jitter`` (the first
        MxDNA model's first window), ``accuracy``, ``token_maps``.
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
    return plots | _more_plots(comparison)


def _more_plots(comparison: TokenComparison) -> "dict[str, Figure]":
    """Plots of what is there only if it was asked for, or of some models."""
    plots = {}
    if comparison.places:
        labels = list(comparison.figures)[: len(COLOURS)]
        everywhere = {name: bases_per_token(comparison.figures[name].lengths[ALL]) for name in labels}
        plots["places"] = plot_token_places(
            {
                group: {
                    place: {
                        name: bases_per_token(of_group[place][name]) / everywhere[name] for name in labels
                    }
                    for place in shown_places(of_group)
                }
                for group, of_group in comparison.places.items()
            }
        )
    for found in itertools.islice(comparison.jitter.values(), 1):
        plots["jitter"] = plot_token_passes(found.first_sequence, found.passes)
    if comparison.accuracy:
        plots["accuracy"] = plot_budget_accuracy(comparison.accuracy)
    if comparison.projections:
        plots["token_maps"] = plot_token_maps(
            {
                f"{name}, {of}": found
                for name, of_model in comparison.projections.items()
                for of, found in of_model.items()
            }
        )
    return plots


def _estimate(band: Band, index: int, control: Band | None = None) -> Estimate:
    mean, low, high = (values[index].item() for values in band)
    return Estimate(mean, low, high, None if control is None else control.mean[index].item())
