import torch

from benchmarks.case import Case, Work
from dnachunk.ops import selective_scan
from dnachunk.ops.selective_scan import selective_scan_naive, selective_scan_torch

CHANNELS, STATES = 1024, 16


def inputs(device, batch, length, dtype):
    def rows(width):
        return torch.randn(batch, length, width, device=device).to(dtype)

    rates = torch.arange(1.0, STATES + 1, device=device).repeat(CHANNELS, 1)
    return {
        "x": rows(CHANNELS),
        "delta": rows(CHANNELS),
        "state_matrix": -rates,
        "input_matrix": rows(STATES),
        "output_matrix": rows(STATES),
        "skip": torch.randn(CHANNELS, device=device),
        "gate": rows(CHANNELS),
        "delta_bias": torch.randn(CHANNELS, device=device) - 4.0,
    }


def forward_work(batch, length, dtype):
    return Work(bytes=batch * length * (4 * CHANNELS + 2 * STATES) * dtype.itemsize)


def backward_work(batch, length, dtype):
    return Work(bytes=batch * length * (7 * CHANNELS + 4 * STATES) * dtype.itemsize)


def is_long(length, **_):
    return length > 1024


CASE = Case(
    name="selective_scan",
    shapes=[
        {"batch": 1, "length": 1024, "dtype": torch.float32},
        {"batch": 1, "length": 1024, "dtype": torch.bfloat16},
        {"batch": 1, "length": 8192, "dtype": torch.float32},
        {"batch": 1, "length": 65536, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=selective_scan,
    rivals={"eager": selective_scan_torch, "in sequence": selective_scan_naive},
    # Unrolled chunks take minutes to compile, positions in sequence seconds a thousand.
    skips={
        "eager": lambda length, **_: length > 8192,
        "compiled": is_long,
        "in sequence": is_long,
    },
    differentiable=["x", "delta", "state_matrix", "input_matrix", "output_matrix", "skip", "gate"],
    forward_work=forward_work,
    backward_work=backward_work,
)
