"""What models cost against the length of a sequence."""

from typing import TYPE_CHECKING

from dnachunk.evaluation.cost import CostProfile
from dnachunk.visualization.style import COLOURS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_cost(profile: CostProfile) -> "Figure":
    """Operations of the forward pass, highest memory, and bases a second, against length.

    Memory and speed are those with the backward pass where it was run.

    Args:
        profile: What :func:`~dnachunk.profile` found; of more than eight models the first eight are drawn.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.8), layout="constrained")
    flops, memory, speed = figure.subplots(1, 3)
    passes = "forward"
    for colour, (name, model) in zip(COLOURS, profile.models.items(), strict=False):
        style = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.4}
        lengths, costs = list(model.costs), list(model.costs.values())
        flops.plot(lengths, [cost.forward_flops for cost in costs], label=name, **style)
        peaks, seconds = [], []
        for cost in costs:
            passes = "forward" if cost.step_seconds is None else "forward and backward"
            peaks.append((cost.step_peak_bytes or cost.forward_peak_bytes) / 1e6)
            seconds.append(cost.step_seconds or cost.forward_seconds)
        memory.plot(lengths, peaks, **style)
        speed.plot(lengths, [length / each for length, each in zip(lengths, seconds, strict=True)], **style)
    flops.set_ylabel("FLOPs, forward")
    memory.set_ylabel(f"Peak MB, {passes}")
    speed.set_ylabel(f"Bases/s, {passes}")
    ticks = sorted({length for model in profile.models.values() for length in model.costs})
    for axes in (flops, memory, speed):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [f"{length:,}" for length in ticks], size=8)
        axes.set_xlabel("Length of the sequence (bp)")
        tidy(axes)
    figure.legend(frameon=False, fontsize=8, ncols=len(COLOURS), loc="outside upper center")
    return figure


__all__ = ["plot_cost"]
