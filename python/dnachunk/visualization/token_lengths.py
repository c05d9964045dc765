"""Distribution of token lengths in groups of sequences."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dnachunk.segmentation import Segmentation
from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_token_lengths(
    groups: Mapping[str, Segmentation | torch.Tensor], max_length_bp: int = 16
) -> "Figure":
    """Share of tokens of each length, a colour for each group of sequences (MergeDNA, Figure 2).

    Args:
        groups: By name, a segmentation, or counts as :meth:`Segmentation.length_histogram` gives them:
            entry k counts the tokens of k bases. At most eight.
        max_length_bp: Longest length with bars of its own; longer tokens are counted there, and its label
            then says ``≥``.

    Returns:
        The figure; ``figure.savefig(path)`` writes it. The legend gives the mean length of all of a group's
        tokens.

    Raises:
        ValueError: If there is no group or more than eight, a group has no tokens, or ``max_length_bp`` is
            below 1.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(groups) <= len(COLOURS):
        raise ValueError(f"plot_token_lengths: groups must be 1 to {len(COLOURS)}, got {len(groups)}")
    if max_length_bp < 1:
        raise ValueError(f"plot_token_lengths: max_length_bp must be 1 or more, got {max_length_bp}")
    figure = Figure(figsize=(max(5.0, 0.38 * max_length_bp + 1.2), 3.4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(groups)
    is_cut = False
    for index, (name, group) in enumerate(groups.items()):
        counts = group.length_histogram() if isinstance(group, Segmentation) else group
        counts = F.pad(counts.detach().cpu().double(), (0, max(0, max_length_bp + 1 - len(counts))))
        counts[0] = 0
        total = counts.sum().item()
        if total == 0:
            raise ValueError(f"plot_token_lengths: groups[{name!r}] must have tokens, got none")
        mean = (counts * torch.arange(len(counts))).sum().item() / total
        is_cut |= bool(counts[max_length_bp + 1 :].any())
        shares = counts[1 : max_length_bp + 1] / total
        shares[-1] = counts[max_length_bp:].sum() / total
        centre = (index - (len(groups) - 1) / 2) * width
        axes.bar(
            [length + centre for length in range(1, max_length_bp + 1)],
            shares.tolist(),
            width=0.94 * width,
            color=COLOURS[index],
            label=f"{name} (mean {mean:.1f} bp)",
        )
    labels = [str(length) for length in range(1, max_length_bp + 1)]
    labels[-1] = f"≥{max_length_bp}" if is_cut else labels[-1]
    axes.set_xticks(range(1, max_length_bp + 1), labels)
    axes.set_xlim(0.4, max_length_bp + 0.6)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("Token length (bp)")
    axes.set_ylabel("Share of tokens")
    axes.yaxis.set_major_formatter("{x:.0%}" if axes.get_ylim()[1] > 0.05 else "{x:.1%}")
    tidy(axes)
    axes.legend(frameon=False)
    return figure
