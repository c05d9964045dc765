import torch

from benchmarks.case import Case, Work
from dnachunk.ops import swiglu
from dnachunk.ops.swiglu import swiglu_naive


def inputs(device, rows, width, dtype):
    return {"gate_up": torch.randn(rows, 2 * width, device=device, dtype=dtype)}


CASE = Case(
    name="swiglu",
    shapes=[
        {"rows": 4096, "width": 704, "dtype": torch.float32},
        {"rows": 4096, "width": 704, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=swiglu,
    rivals={"eager": swiglu_naive},
    differentiable=["gate_up"],
    forward_work=lambda rows, width, dtype: Work(bytes=3 * rows * width * dtype.itemsize),
    backward_work=lambda rows, width, dtype: Work(bytes=5 * rows * width * dtype.itemsize),
)
