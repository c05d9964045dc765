import functools

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case import Case, Work
from dnachunk.nn import LearntTokenization
from dnachunk.ops import use_backend


@functools.cache
def network(layer, channels, device):
    torch.manual_seed(0)
    if layer == "transformer":
        module = torch.nn.TransformerEncoderLayer(channels, 8, 4 * channels, dropout=0.0, batch_first=True)
    else:
        module = LearntTokenization(channels)
    return module.to(device).train()


def inputs(device, layer, batch, length, channels):
    return {
        "module": network(layer, channels, device),
        "x": torch.randn(batch, length, channels, device=device),
        "seeds": torch.arange(batch, device=device),
    }


def step(module, x, seeds):
    """Forward and backward of one layer: what it gives, and the gradients of its input and parameters."""
    module.zero_grad()
    x = x.detach().requires_grad_()
    out = module(x, None, seeds).values if isinstance(module, LearntTokenization) else module(x)
    out.square().sum().backward()
    return out.detach(), x.grad, *(parameter.grad for parameter in module.parameters())


def step_in_eager(**arguments):
    with use_backend("torch"):
        return step(**arguments)


@functools.cache
def flops(**shape):
    """Floating-point operations of all matrix products of a step."""
    with FlopCounterMode(display=False) as counter:
        step_in_eager(**inputs(torch.device("cpu"), **shape))
    return counter.get_total_flops()


CASE = Case(
    name="learnt_tokenization",
    shapes=[
        {"layer": layer, "batch": 1, "length": 4096, "channels": 512} for layer in ("mxdna", "transformer")
    ],
    inputs=inputs,
    ours=step,
    rivals={"operations in PyTorch": step_in_eager},
    skips={"operations in PyTorch": lambda layer, **_: layer == "transformer"},
    forward_work=lambda **shape: Work(flops=flops(**shape)),
)
