import torch

from benchmarks.case import Case, Work
from dnachunk.ops import unit_scatter
from dnachunk.ops.unit_scatter import unit_scatter_naive


def inputs(device, batch, length, channels, dtype):
    # A unit to three bases.
    units = batch * length // 3
    return {
        "residual": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "values": torch.randn(units, channels, device=device, dtype=dtype),
        "weight": torch.rand(units, device=device),
        "position": torch.randperm(batch * length, device=device)[:units],
    }


def forward_work(batch, length, channels, dtype):
    return Work(bytes=batch * length * (2 + 1 / 3) * channels * dtype.itemsize)


def backward_work(batch, length, channels, dtype):
    # Of the units alone: reads their gradients and values, writes the gradients of these.
    return Work(bytes=batch * length * channels * dtype.itemsize)


CASE = Case(
    name="unit_scatter",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 4, "length": 8192, "channels": 256, "dtype": torch.float32},
        {"batch": 4, "length": 8192, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=unit_scatter,
    rivals={"eager": unit_scatter_naive},
    differentiable=["residual", "values", "weight"],
    forward_work=forward_work,
    backward_work=backward_work,
)
