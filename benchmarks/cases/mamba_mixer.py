import functools

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from benchmarks.case import Case, Work
from dnachunk.nn import Mamba
from dnachunk.ops import use_backend

D_MODEL = 512


@functools.cache
def mixer(device):
    torch.manual_seed(0)
    return Mamba(D_MODEL).to(device)


@functools.cache
def mixer_of_transformers(device):
    theirs = MambaMixer(MambaConfig(hidden_size=D_MODEL), 0)
    theirs.load_state_dict(mixer(device).state_dict())
    return theirs.to(device)


def inputs(device, length, dtype):
    parameters = {name: value.detach().clone() for name, value in mixer(device).named_parameters()}
    return {"x": torch.randn(1, length, D_MODEL, device=device), "dtype": dtype, **parameters}


def run(module, x, dtype, **parameters):
    with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype != torch.float32):
        return torch.func.functional_call(module, parameters, (x,))


def ours(x, **arguments):
    return run(mixer(x.device), x, **arguments)


def in_pytorch(**arguments):
    with use_backend("torch"):
        return ours(**arguments)


def transformers(x, **arguments):
    return run(mixer_of_transformers(x.device), x, **arguments)


@functools.cache
def flops(length):
    """Floating-point operations of the four projections."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ours(**inputs(torch.device("cpu"), length, torch.float32))
    return counter.get_total_flops()


CASE = Case(
    name="mamba_mixer",
    shapes=[
        {"length": 1024, "dtype": torch.float32},
        {"length": 1024, "dtype": torch.bfloat16},
        {"length": 8192, "dtype": torch.float32},
        {"length": 65536, "dtype": torch.float32},
    ],
    inputs=inputs,
    ours=ours,
    rivals={"operations in PyTorch": in_pytorch, "transformers": transformers},
    # Both passes take a minute at 1024 positions, and four at 2048; under autocast it rounds its states.
    skips={
        "transformers": lambda length, dtype: length > 1024 or dtype != torch.float32,
        "operations in PyTorch": lambda length, **_: length > 8192,
    },
    differentiable=["x", *(name for name, _ in Mamba(16).named_parameters())],
    forward_work=lambda length, dtype: Work(flops=flops(length), dtype=dtype),
    backward_work=lambda length, dtype: Work(flops=2 * flops(length), dtype=dtype),
    breakdown=True,
)
