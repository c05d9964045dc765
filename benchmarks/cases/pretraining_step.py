import functools

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case import Case, Work
from dnachunk import MergeDNAConfig, MergeDNAForPreTraining
from dnachunk.ops import use_backend

BATCH, LENGTH = 8, 512


@functools.cache
def model(device):
    torch.manual_seed(0)
    return MergeDNAForPreTraining(MergeDNAConfig.tiny()).to(device).train()


def inputs(device, dtype):
    return {"input_ids": torch.randint(5, 9, (BATCH, LENGTH), device=device), "dtype": dtype}


def step(input_ids, dtype):
    """Forward and backward of one optimizer step; the loss in the precision it was computed in."""
    network = model(input_ids.device)
    network.zero_grad()
    enabled = dtype != torch.float32
    with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=enabled):
        seeds = torch.arange(BATCH, device=input_ids.device)
        output = network(input_ids, keep_ratio=0.5, sample_seeds=seeds)
    output.loss.backward()
    return output.losses["reconstruction"].detach().to(dtype)


def step_in_eager(input_ids, dtype):
    with use_backend("torch"):
        return step(input_ids, dtype)


@functools.cache
def flops():
    """Floating-point operations of all matrix products of a step, attention's included."""
    arguments = inputs(torch.device("cpu"), torch.float32)
    with FlopCounterMode(display=False) as counter:
        step_in_eager(**arguments)
    return counter.get_total_flops()


CASE = Case(
    name="pretraining_step",
    shapes=[{"dtype": torch.float32}, {"dtype": torch.bfloat16}],
    inputs=inputs,
    ours=step,
    rivals={"operations in PyTorch": step_in_eager},
    forward_work=lambda dtype: Work(flops=flops(), dtype=dtype),
)
