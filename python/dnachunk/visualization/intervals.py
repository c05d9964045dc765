"""Estimates with their intervals, tokenizers side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from dnachunk.visualization.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A mean, where it lies with some confidence, and the mean of a control, if there is one."""

    mean: float
    low: float
    high: float
    control: float | None = None


def plot_intervals(panels: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> "Figure":
    """A panel for each quantity, a row for each group and in it a dot with its interval for each tokenizer.

    Controls are hollow.

    Args:
        panels: By quantity, by group, by tokenizer; groups and tokenizers the same in each, at most eight of
            the latter.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If there is nothing to draw, or panels or groups differ.
    """
    from matplotlib.figure import Figure

    groups = {
        (tuple(rows), tuple(of_group)) for rows in panels.values() for of_group in rows.values() or [{}]
    }
    if len(groups) != 1:
        raise ValueError(
            f"plot_intervals: panels must have the same groups and tokenizers, got {sorted(groups)}"
        )
    ((rows, tokenizers),) = groups
    if not 1 <= len(tokenizers) <= len(COLOURS):
        raise ValueError(f"plot_intervals: tokenizers must be 1 to {len(COLOURS)}, got {len(tokenizers)}")
    height = len(rows) * (0.17 * len(tokenizers) + 0.15)
    figure = Figure(figsize=(3.6 * len(panels) + 1.6, height + 1.2), layout="constrained")
    step = 0.8 / len(tokenizers)
    for index, (title, of_rows) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for number, name in enumerate(tokenizers):
            estimates = [of_row[name] for of_row in of_rows.values()]
            places = [row + (number - (len(tokenizers) - 1) / 2) * step for row in range(len(rows))]
            axes.hlines(
                places, [each.low for each in estimates], [each.high for each in estimates], COLOURS[number]
            )
            axes.plot(
                [each.mean for each in estimates],
                places,
                "o",
                color=COLOURS[number],
                markersize=4,
                label=name,
            )
            controls = [
                (each.control, place)
                for each, place in zip(estimates, places, strict=True)
                if each.control is not None
            ]
            if controls:
                axes.plot(*zip(*controls, strict=True), "o", color=COLOURS[number], mfc="none", markersize=4)
        axes.set_yticks(range(len(rows)), rows if index == 0 else [""] * len(rows), size=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="0.88", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(title)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=4, loc="outside upper center", fontsize=9)
    return figure


__all__ = ["Estimate", "plot_intervals"]
