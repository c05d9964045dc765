import torch

from benchmarks.case import Case, Work
from dnachunk.ops import neighbor_match, soft_assignment, soft_merge
from dnachunk.ops.soft_merge.naive import soft_merge_torch


def inputs(device, batch, length, channels, dtype):
    scores = 2 * torch.rand(batch, length, device=device) - 1
    lengths = torch.full((batch,), length, device=device)
    token_index, _ = neighbor_match(scores, lengths, lengths // 4)
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "mass": torch.ones_like(scores),
        "assignment": soft_assignment(scores, lengths, lengths // 4),
        "token_index": token_index,
        "num_tokens": length - length // 4,
        "window": 16,
        "shift": 0,
    }


def forward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (1.75 * channels * dtype.itemsize + 23))


def backward_work(batch, length, channels, dtype):
    # Reads x and the tokens' gradients; writes the gradients of x, the masses and the assignments.
    return Work(bytes=batch * length * (2.75 * channels * dtype.itemsize + 35))


CASE = Case(
    name="soft_merge",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=soft_merge,
    rivals={"eager": soft_merge_torch},
    differentiable=["x", "mass", "assignment"],
    forward_work=forward_work,
    backward_work=backward_work,
)
