import torch

from benchmarks.case import Case, Work
from dnachunk.ops import neighbor_match
from dnachunk.ops.neighbor_match.naive import neighbor_match_torch


def inputs(device, batch, length, budget):
    lengths = torch.full((batch,), length, device=device)
    return {
        "scores": 2 * torch.rand(batch, length, device=device) - 1,
        "lengths": lengths,
        "num_merges": lengths // 4,
        "window": 16,
        "shift": 0,
        "budget": budget,
    }


CASE = Case(
    name="neighbor_match",
    shapes=[
        {"batch": 8, "length": 512, "budget": "window"},
        {"batch": 8, "length": 4096, "budget": "window"},
        {"batch": 8, "length": 4096, "budget": "sequence"},
        {"batch": 1, "length": 65536, "budget": "window"},
    ],
    inputs=inputs,
    ours=neighbor_match,
    rivals={"eager": neighbor_match_torch},
    # Scores read, tokens and thresholds written.
    forward_work=lambda batch, length, budget: Work(bytes=batch * length * 16),
)
