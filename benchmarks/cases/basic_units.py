import torch

from benchmarks.case import Case, Work
from dnachunk.ops import basic_units
from dnachunk.ops.basic_units import basic_units_torch

SCORES = {
    "random": torch.randn,
    "tied": torch.zeros,
    "rising": lambda *shape, device: torch.arange(shape[1], device=device)[:, None].expand(shape).float(),
}


def inputs(device, batch, length, experts, scores, what="selection"):
    return {
        "scores": SCORES[scores](batch, length, experts, device=device),
        "kernel_sizes": list(range(1, experts + 1)),
        "starts": torch.zeros(batch, dtype=torch.int64, device=device),
        "ends": torch.full((batch,), length, device=device),
        "what": what,
    }


def ours(what, **arguments):
    """The selection or, to compare it with, one pass over the scores or one sort of them.

    To sort all candidates and sweep them is the other way to select: the sort alone is the least it costs.
    """
    if what == "one pass":
        return tuple(arguments["scores"].max(dim=2))
    if what == "one sort":
        return tuple(arguments["scores"].flatten(1).sort(dim=1, descending=True, stable=True))
    return basic_units(**arguments)


def by_rounds(what, **arguments):
    return basic_units_torch(**arguments)


def work(batch, length, experts, scores, what="selection"):
    return Work(bytes=batch * length * (4 * experts + (24 if what == "selection" else 12)))


CASE = Case(
    name="basic_units",
    shapes=[
        {"batch": 1, "length": 32768, "experts": 10, "scores": "random", "what": "one pass"},
        {"batch": 1, "length": 32768, "experts": 10, "scores": "random", "what": "one sort"},
        {"batch": 1, "length": 32768, "experts": 10, "scores": "random"},
        {"batch": 1, "length": 32768, "experts": 10, "scores": "tied"},
        {"batch": 1, "length": 32768, "experts": 10, "scores": "rising"},
        {"batch": 1, "length": 262144, "experts": 10, "scores": "random"},
        {"batch": 16, "length": 2048, "experts": 10, "scores": "random"},
    ],
    inputs=inputs,
    ours=ours,
    rivals={"rounds in PyTorch": by_rounds},
    # Scores in order need a round a unit.
    skips={
        "rounds in PyTorch": lambda scores, what="selection", **_: what != "selection" or scores != "random"
    },
    forward_work=work,
)
