import torch

from benchmarks.case import Case, Work
from dnachunk.ops import neighbor_match, token_merge
from dnachunk.ops.token_merge.naive import token_merge_torch


def inputs(device, batch, length, channels, dtype):
    scores = 2 * torch.rand(batch, length, device=device) - 1
    lengths = torch.full((batch,), length, device=device)
    token_index, threshold = neighbor_match(scores, lengths, lengths // 4)
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "sizes": torch.ones_like(token_index),
        "token_index": token_index,
        "num_tokens": length - length // 4,
        "scores": scores,
        "threshold": threshold,
        "window": 16,
        "shift": 0,
        "temperature": 0.1,
    }


def forward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (1.75 * channels * dtype.itemsize + 22))


def backward_work(batch, length, channels, dtype):
    # Reads x, the tokens' gradients, scores and thresholds; writes the gradients of x and of the scores.
    return Work(bytes=batch * length * (2.75 * channels * dtype.itemsize + 34))


CASE = Case(
    name="token_merge",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=token_merge,
    rivals={"eager": token_merge_torch},
    differentiable=["x", "scores"],
    forward_work=forward_work,
    backward_work=backward_work,
)
