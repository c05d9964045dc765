"""Two segmentations of one stretch, one above the other."""

from typing import TYPE_CHECKING

from dnachunk.segmentation import Segmentation, split_symbols
from dnachunk.visualization.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES_PER_BASE = 0.15
_SHADES = ("#CFE3F1", "#9FC5E0")
_ROW = 3.6
"""Two strips, the letters between them, and a gap."""


def plot_token_passes(
    sequence: str,
    passes: tuple[Segmentation, Segmentation],
    *,
    row: int = 0,
    bases_per_row: int = 60,
    names: tuple[str, str] = ("first", "second"),
) -> "Figure":
    """The tokens of two passes over a sequence, as strips above and below its letters (MxDNA, Figure 3).

    Tokens are boxes in two shades by turns. A line through both strips is a boundary that both passes have; a
    short one in another colour is one that only one of them has.

    Args:
        sequence: Text of the sequence.
        passes: Its tokens, twice.
        row: Which sequence of their batches it is.
        bases_per_row: Letters in a row.
        names: What the passes are called.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If the sequence does not fit the segmentations, or is empty.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    cut = [[len(split_symbols(token)) for token in each.tokens(sequence, row)] for each in passes]
    symbols = split_symbols(sequence)
    if not symbols or bases_per_row < 1:
        raise ValueError(
            "plot_token_passes: sequence and bases_per_row must not be empty, "
            f"got {len(symbols)} bases and bases_per_row={bases_per_row}"
        )
    starts = [[sum(lengths[:index]) for index in range(len(lengths))] for lengths in cut]
    both = set(starts[0]) & set(starts[1])
    rows = -(-len(symbols) // bases_per_row)
    width = min(bases_per_row, len(symbols))
    figure = Figure(figsize=(_INCHES_PER_BASE * width + 1.3, 0.24 * _ROW * rows + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.1, width + 0.1)
    axes.set_ylim(_ROW * rows - 0.6, -0.1)
    axes.set_axis_off()
    for strip, (lengths, begins) in enumerate(zip(cut, starts, strict=True)):
        for index, (length, first) in enumerate(zip(lengths, begins, strict=True)):
            position = first
            while position < first + length:
                line = position // bases_per_row
                end = min(first + length, (line + 1) * bases_per_row)
                corner = position - line * bases_per_row, _ROW * line + 2 * strip
                shade = _SHADES[index % 2]
                axes.add_patch(
                    Rectangle(
                        corner, end - position, 1, facecolor=shade, edgecolor="none", gid=f"token {strip}"
                    )
                )
                position = end
            line, x = divmod(first, bases_per_row)
            top, is_shared = _ROW * line, first in both
            low, high = (0, 3) if is_shared else (2 * strip, 2 * strip + 1)
            if not is_shared or strip == 0:
                axes.plot(
                    [x, x],
                    [top + low, top + high],
                    color="0.25" if is_shared else COLOURS[5],
                    linewidth=0.9 if is_shared else 1.8,
                    gid="both" if is_shared else "one",
                )
    for position, symbol in enumerate(symbols):
        line, x = divmod(position, bases_per_row)
        letter = symbol if len(symbol) == 1 else "?"
        axes.text(x + 0.5, _ROW * line + 1.5, letter, ha="center", va="center", family="monospace", size=8.5)
    for line in range(rows):
        for strip, name in enumerate(names):
            y = _ROW * line + 2 * strip + 0.5
            axes.text(-0.6, y, name, ha="right", va="center", size=8, color="0.35")
    return figure


__all__ = ["plot_token_passes"]
