"""Maps of tokens: their vectors on a plane, coloured by where they lie."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnachunk.evaluation.token_projection import TokenProjection
from dnachunk.visualization.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3
_TITLE_LETTERS = 44


def plot_token_maps(projections: Mapping[str, TokenProjection]) -> "Figure":
    """A panel for each map, a dot for each token, coloured by its place (MxDNA, Figure 5).

    Args:
        projections: By title, as :func:`~dnachunk.evaluation.token_projection.project_tokens` gives them; at
            most eight places each.

    Returns:
        The figure; ``figure.savefig(path)`` writes it. Axes have no scale: t-SNE has none.

    Raises:
        ValueError: If there is no map, or one has more than eight places.
    """
    from matplotlib.figure import Figure

    if not projections:
        raise ValueError("plot_token_maps: projections must be one or more, got none")
    columns = min(_COLUMNS, len(projections))
    rows = -(-len(projections) // columns)
    figure = Figure(figsize=(3.9 * columns, 4.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (title, found) in zip(panels, projections.items(), strict=False):
        places = list(dict.fromkeys(sorted(found.places)))
        if len(places) > len(COLOURS):
            raise ValueError(
                f"plot_token_maps: places must be at most {len(COLOURS)}, got {len(places)} in {title!r}"
            )
        for colour, place in zip(COLOURS, places, strict=False):
            chosen = [index for index, each in enumerate(found.places) if each == place]
            x, y = found.coordinates[chosen].T.tolist()
            axes.plot(x, y, "o", color=colour, markersize=2.5, alpha=0.7, markeredgewidth=0, label=place)
        wrapped = "\n".join(textwrap.wrap(title, _TITLE_LETTERS))
        axes.set_title(
            f"{wrapped}\nnearest alike {found.neighbours_alike:.0%}, by chance {found.by_chance:.0%}", size=9
        )
        axes.legend(
            frameon=False,
            fontsize=7,
            markerscale=2.5,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.02),
        )
    for index, axes in enumerate(figure.axes):
        axes.set_visible(index < len(projections))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("0.8")
    return figure


__all__ = ["plot_token_maps"]
