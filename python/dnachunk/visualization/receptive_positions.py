"""Basic units, and where each token made of them reads from."""

import math
from typing import TYPE_CHECKING

import torch

from dnachunk.segmentation import Segmentation, split_symbols

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST_COLOURED_BP = 10


def plot_receptive_positions(
    sequence: str,
    segmentation: Segmentation,
    positions: torch.Tensor,
    modulation: torch.Tensor,
    *,
    row: int = 0,
    start: int = 0,
) -> "Figure":
    """Letters in their basic units below, and above them a line for each token with a dot where it reads.

    A token whose dots leave units out between them is discontinuous, tokens with dots in one column overlap.
    A dot's area is the modulation of its tap; an open ring marks the token's own unit.

    Args:
        sequence: Text of the sequence, as :meth:`Segmentation.tokens` takes it.
        segmentation: Its basic units.
        positions: ``[L, f]`` where each tap of each unit's token reads, in bases from the sequence's first;
            NaN where a tap reads nothing. What MxDNA's ``output.tokens.receptive_positions[row, 1:-1] - 1``
            gives.
        modulation: ``[L, f]`` weights of the taps, in [0, 2].
        row: Which sequence of the segmentation's batch it is.
        start: Coordinate of the first base.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If the sequence does not fit the segmentation or is empty, or the tensors do not have a
            row for each unit.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    units = segmentation.tokens(sequence, row)
    symbols = split_symbols(sequence)
    if not symbols:
        raise ValueError("plot_receptive_positions: sequence must not be empty, got 0 bases")
    for name, tensor in (("positions", positions), ("modulation", modulation)):
        if tensor.dim() != 2 or len(tensor) < len(units) or tensor.shape != positions.shape:
            raise ValueError(
                f"plot_receptive_positions: {name} must be [{len(units)}, f], got {list(tensor.shape)}"
            )
    count = len(units)
    figure = Figure(figsize=(0.17 * len(symbols) + 1.2, 0.17 * count + 1.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.5, len(symbols) - 0.5)
    axes.set_ylim(-2.2, count + 1.8)
    colours = colormaps["YlGnBu"]
    base = 0
    for index, unit in enumerate(units):
        width = len(split_symbols(unit))
        colour = colours(0.08 + 0.5 * min(width, _LONGEST_COLOURED_BP) / _LONGEST_COLOURED_BP)
        axes.add_patch(Rectangle((base - 0.45, -1.7), width - 0.1, 1.2, color=colour, gid="unit"))
        axes.add_patch(Rectangle((base - 0.45, index + 0.5), width - 0.1, 1.0, color=colour, alpha=0.6))
        axes.scatter(base + (width - 1) / 2, index + 1, s=26, facecolors="none", edgecolors="0.35", lw=0.8)
        base += width
    for place, symbol in enumerate(symbols):
        letter = symbol if len(symbol) == 1 else "?"
        axes.text(place, -1.1, letter, ha="center", va="center_baseline", family="monospace", size=8)
    for index, (places, weights) in enumerate(
        zip(positions[:count].tolist(), modulation[:count].tolist(), strict=True)
    ):
        reads = [
            (place, weight) for place, weight in zip(places, weights, strict=True) if not math.isnan(place)
        ]
        xs = [place for place, _ in reads]
        axes.plot(xs, [index + 1] * len(xs), color="#D55E00", linewidth=0.8, alpha=0.7)
        axes.scatter(xs, [index + 1] * len(xs), s=[9 * w for _, w in reads], color="#D55E00", zorder=3)
    axes.set_yticks([1, *range(5, count + 1, 5)])
    axes.tick_params(labelsize=7)
    axes.set_ylabel("Token", size=8)
    ticks = range(0, len(symbols), 10)
    axes.set_xticks(ticks, labels=[f"{start + tick:,}" for tick in ticks])
    axes.set_xlabel("Base", size=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
