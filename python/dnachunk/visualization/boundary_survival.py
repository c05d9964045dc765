"""Boundaries that survive a mutation, tokenizers side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_boundary_survival(survival: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Share of boundaries that are there after a mutation, a group of bars for each tokenizer.

    Args:
        survival: By name of the tokenizer, by kind of mutation the share in [0, 1].

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If there is no tokenizer, or they have different kinds.
    """
    from matplotlib.figure import Figure

    kinds = list(next(iter(survival.values()), {}))
    if not kinds or any(list(shares) != kinds for shares in survival.values()):
        got = [list(shares) for shares in survival.values()]
        raise ValueError(
            f"plot_boundary_survival: survival must have the same kinds for each tokenizer, got {got}"
        )
    figure = Figure(figsize=(max(4.5, 1.5 * len(survival) + 1.2), 3.4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(kinds)
    for index, kind in enumerate(kinds):
        centre = (index - (len(kinds) - 1) / 2) * width
        axes.bar(
            [place + centre for place in range(len(survival))],
            [shares[kind] for shares in survival.values()],
            width=0.92 * width,
            color=COLOURS[index],
            label=kind,
        )
    axes.set_xticks(range(len(survival)), list(survival), size=9)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("Boundaries that survive")
    tidy(axes)
    figure.legend(frameon=False, ncols=len(kinds), loc="outside upper center", fontsize=9)
    return figure
