import torch

from benchmarks.case import Case, Work
from dnachunk.ops import soft_assignment
from dnachunk.ops.soft_assignment.naive import soft_assignment_torch


def inputs(device, batch, length):
    lengths = torch.full((batch,), length, device=device)
    return {
        "scores": 2 * torch.rand(batch, length, device=device) - 1,
        "lengths": lengths,
        "num_merges": lengths // 4,
        "window": 16,
        "shift": 0,
        "temperature": 0.1,
    }


CASE = Case(
    name="soft_assignment",
    shapes=[
        {"batch": 8, "length": 512},
        {"batch": 8, "length": 4096},
        {"batch": 1, "length": 65536},
    ],
    inputs=inputs,
    ours=soft_assignment,
    rivals={"eager": soft_assignment_torch},
    differentiable=["scores"],
    # Scores read, assignments written; then both read, and the scores' gradients written.
    forward_work=lambda batch, length: Work(bytes=batch * length * 12),
    backward_work=lambda batch, length: Work(bytes=batch * length * 16),
)
