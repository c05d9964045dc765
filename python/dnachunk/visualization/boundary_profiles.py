"""Boundaries around sites, beside the same stretches shuffled."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnachunk.evaluation.token_meaning import Profile
from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHUFFLED = "0.45"
# As many as are as long as a panel is high.
_LABEL_CHARACTERS = 20


def plot_boundary_profiles(profiles: Mapping[str, Mapping[str, Profile]]) -> "Figure":
    """Mean over sites at each offset with its 95% band, a row for each kind of site, a column for each curve.

    Args:
        profiles: By kind of site, by name of the tokenizer (and what is shown of it) its profile; the names
            are the same for each kind. All have the same offsets.

    Returns:
        The figure; ``figure.savefig(path)`` writes it. Offset 0 is the base behind the site.

    Raises:
        ValueError: If there is no profile, or the names differ.
    """
    from matplotlib.figure import Figure

    names = list(next(iter(profiles.values()), {}))
    if not names or any(list(row) != names for row in profiles.values()):
        raise ValueError(
            "plot_boundary_profiles: profiles must have the same curves for each kind of site, at least one, "
            f"got {[list(row) for row in profiles.values()]}"
        )
    figure = Figure(figsize=(3.7 * len(names) + 0.6, 1.75 * len(profiles) + 0.75), layout="constrained")
    panels = figure.subplots(len(profiles), len(names), sharex=True, sharey="col", squeeze=False)
    for row, (site, curves) in enumerate(profiles.items()):
        for column, name in enumerate(names):
            axes, profile = panels[row][column], curves[name]
            width = len(profile.observed.mean) // 2
            offsets = range(-width, width + 1)
            for band, colour, label in (
                (profile.control, _SHUFFLED, "shuffled"),
                (profile.observed, COLOURS[0], "as it is"),
            ):
                axes.fill_between(
                    offsets, band.low.tolist(), band.high.tolist(), color=colour, alpha=0.25, linewidth=0
                )
                axes.plot(offsets, band.mean.tolist(), color=colour, linewidth=1.2, label=label)
            axes.axvline(0, color="0.6", linewidth=0.7, linestyle=":")
            axes.set_xlim(-width, width)
            tidy(axes)
            if row == 0:
                axes.set_title(name, size=10)
            if column == 0:
                lines = [*textwrap.wrap(site, _LABEL_CHARACTERS), f"({profile.num_sites:,} sites)"]
                axes.set_ylabel("\n".join(lines), size=9)
            if row == len(profiles) - 1:
                axes.set_xlabel("Bases from the site", size=9)
            axes.tick_params(labelsize=8)
    for axes in panels[0]:
        axes.set_ylim(bottom=0)
    curves_drawn = panels[0][0].get_legend_handles_labels()
    figure.legend(*curves_drawn, frameon=False, fontsize=9, ncols=2, loc="outside lower center")
    figure.suptitle("Where a token begins: mean over sites and its 95% bootstrap band", size=10)
    return figure
