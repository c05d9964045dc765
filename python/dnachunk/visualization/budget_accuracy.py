"""Accuracy at masked bases against tokens per base."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dnachunk.evaluation.budget_accuracy import BUDGET, CONFIGURED, THRESHOLD, BudgetAccuracy
from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_READINGS = {THRESHOLD: "by the threshold", CONFIGURED: "as it is"}


def plot_budget_accuracy(models: Mapping[str, Sequence[BudgetAccuracy]]) -> "Figure":
    """Accuracy, and nats, at masked bases: a line for each model's budgets, a star where it is not asked.

    Args:
        models: By name, as :func:`~dnachunk.evaluation.budget_accuracy.budget_accuracy` gives them; of more
            than eight models the first eight are drawn.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If there is no model.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    if not models:
        raise ValueError("plot_budget_accuracy: models must be one or more, got none")
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    accuracy, nats = figure.subplots(1, 2)
    for colour, (name, points) in zip(COLOURS, models.items(), strict=False):
        for axes, field in ((accuracy, "masked_accuracy"), (nats, "masked_nats")):
            asked = [each for each in points if each.reading == BUDGET]
            axes.plot(
                [each.tokens_per_base for each in asked],
                [getattr(each.scores, field) for each in asked],
                color=colour,
                marker="o",
                markersize=4,
                linewidth=1.4,
                label=name if asked else None,
            )
            for each in points:
                if each.reading != BUDGET:
                    axes.plot(
                        each.tokens_per_base,
                        getattr(each.scores, field),
                        "*",
                        color=colour,
                        markersize=11,
                        linestyle="none",
                        label=f"{name}, {_READINGS[each.reading]}",
                    )
            axes.set_xlabel("Tokens per base")
            tidy(axes)
    accuracy.set_ylabel("Accuracy at [MASK]")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    nats.set_ylabel("Nats at [MASK]")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside upper center")
    return figure


__all__ = ["plot_budget_accuracy"]
