"""Distributions of token lengths by region, tokenizers side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3


def plot_lengths_by_region(
    tokenizers: Mapping[str, Mapping[str, torch.Tensor]], max_length_bp: int = 16
) -> "Figure":
    """Share of tokens of each length, a panel for each tokenizer and a line for each region.

    Args:
        tokenizers: By name, by region the number of tokens of each length: entry k counts those of k bases,
            and may be a fraction. At most eight regions, the same in each.
        max_length_bp: Longest length of its own; longer tokens are counted there, and its label says ``≥``.

    Returns:
        The figure; ``figure.savefig(path)`` writes it. Each panel's legend gives the mean length by region.

    Raises:
        ValueError: If there is no tokenizer, or not 1 to 8 regions with tokens.
    """
    from matplotlib.figure import Figure

    names = list(next(iter(tokenizers.values()), {}))
    if not 1 <= len(names) <= len(COLOURS):
        raise ValueError(f"plot_lengths_by_region: regions must be 1 to {len(COLOURS)}, got {len(names)}")
    columns = min(_COLUMNS, len(tokenizers))
    rows = -(-len(tokenizers) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    is_cut = False
    for axes, (title, groups) in zip(panels, tokenizers.items(), strict=False):
        for index, name in enumerate(names):
            counts = groups[name].double()
            counts = F.pad(counts, (0, max(0, max_length_bp + 1 - len(counts))))
            counts[0] = 0
            total = counts.sum().item()
            if total == 0:
                raise ValueError(f"plot_lengths_by_region: {title}, {name} must have tokens, got none")
            mean = (counts * torch.arange(len(counts))).sum().item() / total
            is_cut |= bool(counts[max_length_bp + 1 :].any())
            shares = counts[1 : max_length_bp + 1] / total
            shares[-1] = counts[max_length_bp:].sum() / total
            axes.plot(
                range(1, max_length_bp + 1),
                shares.tolist(),
                color=COLOURS[index],
                marker="o",
                markersize=3,
                linewidth=1.3,
                label=f"{name} (mean {mean:.2f} bp)",
            )
        axes.set_title(title, size=10)
        axes.legend(frameon=False, fontsize=8)
    ticks = sorted({1, *range(4, max_length_bp, 4), max_length_bp})
    labels = [f"≥{tick}" if is_cut and tick == max_length_bp else str(tick) for tick in ticks]
    for index, axes in enumerate(figure.axes):
        axes.set_visible(index < len(tokenizers))
        tidy(axes)
        axes.set_xticks(ticks, labels)
        axes.yaxis.set_major_formatter("{x:.0%}")
        if index + columns >= len(tokenizers):
            axes.set_xlabel("Token length (bp)")
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel("Share of tokens")
    return figure
