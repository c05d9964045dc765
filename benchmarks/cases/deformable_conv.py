import torch
from torchvision.ops import deform_conv2d

from benchmarks.case import Case, Work
from dnachunk.ops import deformable_conv
from dnachunk.ops.deformable_conv import deformable_conv_naive

TAPS = 3


def inputs(device, batch, rows, channels, dtype):
    offset = torch.randn(batch, rows, TAPS, device=device)
    return {
        "x": torch.randn(batch, rows, channels, device=device, dtype=dtype),
        # Sums of a row and a multiple of 1/64 are exact, so that all forms read at the same place.
        "offset": (64 * offset).round() / 64,
        "modulation": 2 * torch.rand(batch, rows, TAPS, device=device),
        "weight": (torch.randn(channels, channels, TAPS, device=device) / channels**0.5).to(dtype),
    }


def torchvision(x, offset, modulation, weight):
    """Height 1 of the two-dimensional one."""
    both = torch.stack([torch.zeros_like(offset), offset], dim=-1).flatten(2)
    output = deform_conv2d(
        x.mT[:, :, None],
        both.mT[:, :, None],
        weight[:, :, None],
        padding=(0, TAPS // 2),
        mask=modulation.mT[:, :, None],
    )
    return output[:, :, 0].mT


def forward_work(batch, rows, channels, dtype):
    values = batch * rows * channels
    return Work(bytes=2 * values * dtype.itemsize, flops=2 * values * TAPS * channels, dtype=dtype)


def backward_work(batch, rows, channels, dtype):
    values = batch * rows * channels
    return Work(bytes=3 * values * dtype.itemsize, flops=4 * values * TAPS * channels, dtype=dtype)


CASE = Case(
    name="deformable_conv",
    shapes=[
        {"batch": 1, "rows": 4096, "channels": 512, "dtype": torch.float32},
        {"batch": 1, "rows": 4096, "channels": 512, "dtype": torch.bfloat16},
        {"batch": 8, "rows": 2048, "channels": 128, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=deformable_conv,
    rivals={"eager": deformable_conv_naive, "torchvision": torchvision},
    skips={"torchvision": lambda dtype, **_: dtype != torch.float32},
    differentiable=["x", "offset", "modulation", "weight"],
    forward_work=forward_work,
    backward_work=backward_work,
)
