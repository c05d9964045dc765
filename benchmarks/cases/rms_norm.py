import torch
import torch.nn.functional as F

from benchmarks.case import Case, Work
from dnachunk.ops import rms_norm
from dnachunk.ops.rms_norm import rms_norm_naive


def inputs(device, rows, width, dtype):
    x = torch.randn(rows, width, device=device)
    return {"x": x, "weight": torch.ones(width, device=device), "dtype": dtype}


def library(x, weight, dtype):
    return F.rms_norm(x, weight.shape, weight, 1e-6).to(dtype)


CASE = Case(
    name="rms_norm",
    shapes=[
        {"rows": 4096, "width": 256, "dtype": torch.float32},
        {"rows": 4096, "width": 256, "dtype": torch.bfloat16},
        {"rows": 4096, "width": 1024, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=lambda x, weight, dtype: rms_norm(x, weight, dtype=dtype),
    rivals={"eager": lambda x, weight, dtype: rms_norm_naive(x, weight, dtype=dtype), "F.rms_norm": library},
    differentiable=["x", "weight"],
    forward_work=lambda rows, width, dtype: Work(bytes=rows * width * (4 + dtype.itemsize)),
    backward_work=lambda rows, width, dtype: Work(bytes=rows * width * (8 + dtype.itemsize)),
)
