"""A stretch of sequence, cut into its tokens."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from dnachunk.segmentation import Segmentation, split_symbols

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES_PER_BASE = 0.15
_INCHES_PER_UNIT = 0.26
_LABEL_BASES_PER_CHARACTER = 0.52
_LONGEST_COLOURED_BP = 12
_LANE = 1.0
_TRACK = 1.3
_GAP = 0.75


def plot_token_strip(
    sequence: str,
    segmentation: Segmentation,
    *,
    row: int = 0,
    start: int = 0,
    bases_per_row: int = 60,
    annotations: Sequence[tuple[int, int, str]] = (),
    boundary_probabilities: torch.Tensor | None = None,
) -> "Figure":
    """Letters in rows, each token a box, darker the longer the token.

    A token that goes on in the next row has no gap at the break. Coordinates at the left are those of a
    row's first base, 0-based.

    Args:
        sequence: Text of the sequence, as :meth:`Segmentation.tokens` takes it.
        segmentation: Its tokens.
        row: Which sequence of the segmentation's batch it is.
        start: Coordinate of the first base.
        bases_per_row: Letters in a row.
        annotations: ``(start, end, label)`` in the same coordinates, end exclusive, drawn above the letters.
        boundary_probabilities: ``[n]``: for each base the probability that a token begins there, drawn as
            bars above the letters.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If the sequence does not fit the segmentation, is empty, an annotation is empty, or there
            is not one probability for each base.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure

    tokens = [split_symbols(token) for token in segmentation.tokens(sequence, row)]
    symbols = [symbol for token in tokens for symbol in token]
    num_bases = len(symbols)
    if not symbols or bases_per_row < 1:
        raise ValueError(
            "plot_token_strip: sequence and bases_per_row must not be empty, "
            f"got {num_bases} bases and bases_per_row={bases_per_row}"
        )
    if boundary_probabilities is not None and boundary_probabilities.shape != (num_bases,):
        raise ValueError(
            f"plot_token_strip: boundary_probabilities must be [{num_bases}], "
            f"got {list(boundary_probabilities.shape)}"
        )
    for first, end, label in annotations:
        if first >= end:
            raise ValueError(f"plot_token_strip: annotations must not be empty, got {(first, end, label)}")

    # The light part of the scale, on which black letters can be read.
    longest = min(max(map(len, tokens)), _LONGEST_COLOURED_BP)
    colours = ListedColormap(
        [colormaps["YlGnBu"](0.08 + 0.5 * k / max(1, longest - 1)) for k in range(longest)]
    )
    norm = BoundaryNorm([k + 0.5 for k in range(longest + 1)], longest)

    rows = range(0, num_bases, bases_per_row)
    annotations_by_row = _annotations_by_row(annotations, start, bases_per_row, num_bases)
    track = _TRACK if boundary_probabilities is not None else 0.0
    heights = [
        1 + track + _LANE * (max((lane for lane, *_ in row_lanes), default=-1) + 1)
        for row_lanes in annotations_by_row
    ]
    total_height = sum(heights) + _GAP * (len(heights) - 1)
    width = min(bases_per_row, num_bases)
    height = max(0.9, _INCHES_PER_UNIT * total_height + 0.3)
    figure = Figure(figsize=(_INCHES_PER_BASE * width + 1.9, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(total_height, 0)
    axes.set_axis_off()

    # The top of each row's letters.
    tops = [sum(heights[: index + 1]) + _GAP * index - 1 for index in range(len(heights))]
    base = 0
    for token in tokens:
        _draw_token(axes, base, len(token), bases_per_row, tops, colours(norm(min(len(token), longest))))
        base += len(token)
    for position, symbol in enumerate(symbols):
        x, y = position % bases_per_row + 0.5, tops[position // bases_per_row] + 0.5
        letter = symbol if len(symbol) == 1 else "?"
        axes.text(x, y, letter, ha="center", va="center_baseline", family="monospace", size=9)
    for index, first in enumerate(rows):
        axes.text(
            -0.6, tops[index] + 0.5, f"{start + first:,}", ha="right", va="center", size=8, color="0.35"
        )
        for lane, left, right, label_x, label in annotations_by_row[index]:
            y = tops[index] - track - _LANE * lane - 0.2
            axes.plot(
                [left, right], [y, y], color="#D55E00", linewidth=2.5, solid_capstyle="butt", gid="annotation"
            )
            if label:
                axes.text(
                    label_x,
                    y - 0.12,
                    label,
                    ha="right" if label_x > left else "left",
                    va="bottom",
                    size=7.5,
                    color="#A04000",
                )
        if boundary_probabilities is not None:
            values = boundary_probabilities[first : first + bases_per_row].detach().float().cpu().tolist()
            bottom = tops[index] - 0.1
            scale = _TRACK - 0.3
            axes.bar(
                [x + 0.5 for x in range(len(values))],
                [-scale * value for value in values],
                bottom=bottom,
                width=0.7,
                color="#0072B2",
            )
            axes.plot([0, len(values)], [bottom, bottom], color="0.6", linewidth=0.6)
            for value in (0, 1):
                axes.text(
                    -0.2, bottom - scale * value, str(value), ha="right", va="center", size=6, color="0.5"
                )
    # As many lengths as have room, the longest among them.
    ticks = range(longest, 0, -math.ceil(0.17 * longest / height))
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, fraction=0.03, pad=0.02, aspect=12)
    is_cut = max(map(len, tokens)) > longest
    bar.set_ticks(ticks, labels=[f"≥{tick}" if is_cut and tick == longest else str(tick) for tick in ticks])
    bar.set_label("Token length (bp)", size=8)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=0)
    bar.outline.set_visible(False)
    return figure


def _draw_token(
    axes: Any, first: int, length: int, bases_per_row: int, tops: Sequence[float], colour: Any
) -> None:
    """Draws one box, or one for each row that the token reaches into."""
    from matplotlib.patches import Rectangle

    position, end = first, first + length
    while position < end:
        row = position // bases_per_row
        stop = min(end, (row + 1) * bases_per_row)
        left = position - row * bases_per_row + (0.07 if position == first else 0)
        right = stop - row * bases_per_row - (0.07 if stop == end else 0)
        axes.add_patch(
            Rectangle((left, tops[row]), right - left, 1, facecolor=colour, edgecolor="none", gid="token")
        )
        position = stop


def _annotations_by_row(
    annotations: Sequence[tuple[int, int, str]], start: int, bases_per_row: int, num_bases: int
) -> list[list[tuple[int, int, int, float, str]]]:
    """``(lane, left, right, place of the label, label)`` of what each row shows, lanes free of overlaps.

    An annotation over several rows has its label where its longest part is.
    """
    by_row: list[list[tuple[int, int, int, float, str]]] = [[] for _ in range(0, num_bases, bases_per_row)]
    ends_of_lanes: list[list[float]] = [[] for _ in by_row]
    for begin, end, label in sorted(annotations):
        parts = {}
        for row in range(len(by_row)):
            first = start + row * bases_per_row
            left, right = max(begin - first, 0), min(end, start + num_bases) - first
            if left < min(right, bases_per_row):
                parts[row] = (left, min(right, bases_per_row))
        longest = max(parts, key=lambda row: parts[row][1] - parts[row][0], default=None)
        for row, (left, right) in parts.items():
            shown = label if row == longest else ""
            text_width = _LABEL_BASES_PER_CHARACTER * len(shown)
            label_left = max(0.0, min(float(left), min(bases_per_row, num_bases) - text_width))
            lanes = ends_of_lanes[row]
            lane = next((k for k, end in enumerate(lanes) if end <= min(label_left, left)), len(lanes))
            lanes[lane : lane + 1] = [max(label_left + text_width, right) + 0.5]
            # A label that would stick out is flush with the row's end instead of its annotation's start.
            label_x = label_left + text_width if label_left < left else label_left
            by_row[row].append((lane, left, right, label_x, shown))
    return by_row
