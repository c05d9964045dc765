"""Lengths of tokens by kind of place, beside those of all bases."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnachunk.visualization.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_token_places(groups: Mapping[str, Mapping[str, Mapping[str, float]]]) -> "Figure":
    """A panel for each group of places, a row for each place, and in it a dot for each tokenizer.

    Args:
        groups: By group, by place, by tokenizer: bases per token there, over those of all bases, so that
            tokenizers of different compression can be compared; NaN is left out. At most eight tokenizers,
            the same everywhere.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If there is no place, or not 1 to 8 tokenizers.
    """
    from matplotlib.figure import Figure

    names = {tuple(ratios) for places in groups.values() for ratios in places.values()}
    if len(names) != 1:
        raise ValueError(
            f"plot_token_places: places must have the same tokenizers, got {sorted(names) or 'no place'}"
        )
    ((*tokenizers,),) = names
    if not 1 <= len(tokenizers) <= len(COLOURS):
        raise ValueError(f"plot_token_places: tokenizers must be 1 to {len(COLOURS)}, got {len(tokenizers)}")
    heights = [0.24 * len(places) + 0.75 for places in groups.values()]
    figure = Figure(figsize=(7.0, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights).flat
    for axes, (title, places) in zip(panels, groups.items(), strict=True):
        rows = range(len(places))
        for number, name in enumerate(tokenizers):
            axes.plot(
                [ratios[name] for ratios in places.values()],
                rows,
                "o",
                color=COLOURS[number],
                markersize=5,
                label=name,
            )
        axes.axvline(1, color="0.6", linewidth=0.8, zorder=0)
        axes.set_yticks(rows, list(places), size=8)
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="both", color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, size=9, loc="left")
    axes.set_xlabel("Bases per token, over those of all bases")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=4, loc="outside upper center", fontsize=9)
    return figure


__all__ = ["plot_token_places"]
