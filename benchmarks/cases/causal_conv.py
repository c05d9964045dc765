import torch
import torch.nn.functional as F

from benchmarks.case import Case, Work
from dnachunk.ops import causal_conv
from dnachunk.ops.causal_conv import causal_conv_naive

WIDTH = 4


def inputs(device, batch, length, channels, dtype):
    return {
        "x": torch.randn(batch, length, channels, device=device).to(dtype),
        "weight": torch.randn(channels, WIDTH, device=device),
        "bias": torch.randn(channels, device=device),
        "lengths": torch.full((batch,), length, device=device),
        "activation": "silu",
    }


def grouped_conv1d(x, weight, bias, lengths, activation):
    """As in the common fallback: a grouped convolution over transposed rows, cut to length."""
    weight, bias = weight[:, None].to(x.dtype), bias.to(x.dtype)
    convolved = F.conv1d(x.mT, weight, bias, padding=WIDTH - 1, groups=x.shape[2])
    return F.silu(convolved[..., : x.shape[1]]).mT


def forward_work(batch, length, channels, dtype):
    return Work(bytes=2 * batch * length * channels * dtype.itemsize)


def backward_work(batch, length, channels, dtype):
    return Work(bytes=3 * batch * length * channels * dtype.itemsize)


CASE = Case(
    name="causal_conv",
    shapes=[
        {"batch": 1, "length": 1024, "channels": 1024, "dtype": torch.float32},
        {"batch": 1, "length": 8192, "channels": 1280, "dtype": torch.float32},
        {"batch": 1, "length": 8192, "channels": 1280, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=causal_conv,
    rivals={"eager": causal_conv_naive, "grouped conv1d": grouped_conv1d},
    # Rounds between convolution and activation.
    skips={"grouped conv1d": lambda dtype, **_: dtype == torch.bfloat16},
    differentiable=["x", "weight", "bias"],
    forward_work=forward_work,
    backward_work=backward_work,
)
