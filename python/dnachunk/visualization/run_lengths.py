"""How runs of one letter are cut into tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from dnachunk.evaluation.run_lengths import LONGEST_RUN, RunCounts
from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_run_lengths(tokenizers: Mapping[str, tuple[RunCounts, float]]) -> "Figure":
    """Mean length of the tokens in runs of one letter, and the share of runs that no boundary cuts.

    Args:
        tokenizers: By name, the runs and the share of all bases that begin a token; at most eight. The share
            of uncut runs has a binomial 95% band (Wilson's); dashed it is if boundaries lay at random.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: If there is no tokenizer or more than eight, or one has no runs.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(tokenizers) <= len(COLOURS):
        raise ValueError(f"plot_run_lengths: tokenizers must be 1 to {len(COLOURS)}, got {len(tokenizers)}")
    figure = Figure(figsize=(9.4, 4.0), layout="constrained")
    means, shares = figure.subplots(1, 2)
    lengths: list[int] = []
    for colour, (name, (counts, frequency)) in zip(COLOURS, tokenizers.items(), strict=False):
        lengths = counts.runs.nonzero()[:, 0].tolist()
        if not lengths:
            raise ValueError(f"plot_run_lengths: tokenizers[{name!r}] must have runs, got none")
        inside = counts.bases[lengths] / counts.tokens[lengths]
        uncut = counts.uncut[lengths] / counts.runs[lengths]
        chance = (1 - frequency) ** (torch.tensor(lengths, dtype=torch.float64) - 1)
        style = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.4}
        means.plot(lengths, inside.tolist(), label=name, **style)
        low, high = _wilson(uncut, counts.runs[lengths])
        shares.plot(lengths, uncut.tolist(), **style)
        shares.fill_between(lengths, low.tolist(), high.tolist(), color=colour, alpha=0.15, linewidth=0)
        shares.plot(lengths, chance.tolist(), color=colour, linewidth=1, linestyle="--")
    means.plot([], [], color="0.4", linewidth=1, linestyle="--", label="boundaries at random (right)")
    means.set_ylabel("Bases per token in the run")
    means.set_ylim(bottom=0)
    figure.legend(frameon=False, fontsize=8, ncols=5, loc="outside upper center")
    shares.set_ylabel("Share of runs in one token")
    shares.yaxis.set_major_formatter("{x:.0%}")
    for axes in (means, shares):
        axes.set_xlabel("Length of the run of one letter (bp)")
        labels = [f"≥{length}" if length == LONGEST_RUN else str(length) for length in lengths]
        axes.set_xticks(lengths, labels, size=8)
        tidy(axes)
    return figure


def _wilson(share: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a binomial share lies with 95% confidence (Wilson 1927)."""
    deviations = 1.959964
    ratio = deviations**2 / count
    centre = (share + ratio / 2) / (1 + ratio)
    half = deviations * (share * (1 - share) / count + ratio / (4 * count)).sqrt() / (1 + ratio)
    return centre - half, centre + half
