"""What the plots look like."""

from typing import Any, Final

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours, told apart by the colour-blind."""


def tidy(axes: Any) -> None:
    """Horizontal lines behind what is drawn, and no box around it."""
    axes.grid(axis="y", color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
