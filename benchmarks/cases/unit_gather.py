import torch

from benchmarks.case import Case, Work
from dnachunk.ops import unit_gather
from dnachunk.ops.unit_gather import unit_gather_naive


def inputs(device, batch, length, channels, dtype):
    # The bases of units in the order of their experts: each base once.
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "position": torch.randperm(batch * length, device=device),
    }


def work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (2 * channels * dtype.itemsize + 8))


CASE = Case(
    name="unit_gather",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 4, "length": 8192, "channels": 256, "dtype": torch.float32},
        {"batch": 4, "length": 8192, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=unit_gather,
    rivals={"eager": unit_gather_naive},
    differentiable=["x"],
    forward_work=work,
    backward_work=work,
)
