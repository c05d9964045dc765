"""What the plots look like."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dnachunk.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours, told apart by the colour-blind."""


def tidy(axes: Any) -> None:
    """Horizontal lines behind what is drawn, and no box around it."""
    axes.grid(axis="y", color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def write_figure(path: Path, figure: "Figure") -> None:
    """Writes a plot in the format of its suffix, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)
