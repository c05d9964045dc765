import torch
import torch.nn.functional as F

from benchmarks.case import Case, Work
from dnachunk.ops import neighbor_cosine
from dnachunk.ops.neighbor_cosine import neighbor_cosine_naive


def inputs(device, batch, length, channels, dtype):
    return {"grouping": torch.randn(batch, length, channels, device=device).to(dtype)}


def cosine_similarity(grouping):
    grouping = grouping.float()
    return F.pad(F.cosine_similarity(grouping[:, :-1], grouping[:, 1:], dim=-1), (0, 1))


def forward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (channels * dtype.itemsize + 4))


def backward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (2 * channels * dtype.itemsize + 4))


CASE = Case(
    name="neighbor_cosine",
    shapes=[
        {"batch": 8, "length": 512, "channels": 64, "dtype": torch.float32},
        {"batch": 8, "length": 4096, "channels": 64, "dtype": torch.float32},
        {"batch": 8, "length": 4096, "channels": 64, "dtype": torch.bfloat16},
        {"batch": 1, "length": 262144, "channels": 64, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=neighbor_cosine,
    rivals={"eager": neighbor_cosine_naive, "cosine_similarity": cosine_similarity},
    differentiable=["grouping"],
    forward_work=forward_work,
    backward_work=backward_work,
)
