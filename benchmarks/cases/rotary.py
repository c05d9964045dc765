import torch

from benchmarks.case import Case, Work
from dnachunk.ops import rotary
from dnachunk.ops.rotary import rotary_naive


def inputs(device, batch, length, heads, channels, dtype):
    angles = torch.randn(1, length, channels // 2, device=device)
    qkv = torch.randn(batch, length, 3, heads, channels, device=device, dtype=dtype)
    return {"qkv": qkv, "cos": angles.cos(), "sin": angles.sin()}


def work(batch, length, heads, channels, dtype):
    return Work(bytes=6 * batch * length * heads * channels * dtype.itemsize)


CASE = Case(
    name="rotary",
    shapes=[
        {"batch": 8, "length": 256, "heads": 8, "channels": 32, "dtype": torch.float32},
        {"batch": 8, "length": 256, "heads": 8, "channels": 32, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=rotary,
    rivals={"eager": rotary_naive},
    differentiable=["qkv"],
    forward_work=work,
    backward_work=work,
)
