import torch

from benchmarks.case import Case, Work
from dnachunk.ops import window_center
from dnachunk.ops.window_center.naive import window_center_torch


def inputs(device, batch, length, channels, dtype):
    return {
        "x": torch.randn(batch, length, channels, device=device, dtype=dtype),
        "lengths": torch.full((batch,), length, device=device),
        "window": 16,
        "shift": 0,
    }


CASE = Case(
    name="window_center",
    shapes=[
        {"batch": 8, "length": 512, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "channels": 256, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=window_center,
    rivals={"eager": window_center_torch},
    # Rows read, and written in float32.
    forward_work=lambda batch, length, channels, dtype: Work(
        bytes=batch * length * channels * (dtype.itemsize + 4)
    ),
)
