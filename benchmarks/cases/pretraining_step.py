import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForPreTraining

from benchmarks.case import Case, Work
from dnachunk import DNAChunkerConfig, MergeDNAConfig, MxDNAConfig
from dnachunk.alphabet import IGNORE_INDEX
from dnachunk.data.masking import mask_bases
from dnachunk.ops import use_backend
from dnachunk.tokenization import between_special_tokens

CONFIGS: dict[str, Any] = {
    "dnachunker": DNAChunkerConfig,
    "mergedna": MergeDNAConfig,
    "mxdna": MxDNAConfig,
}


@functools.cache
def network(name, device):
    torch.manual_seed(0)
    return AutoModelForPreTraining.from_config(CONFIGS[name].tiny()).to(device).train()


def inputs(device, model, batch, length, dtype):
    input_ids = torch.randint(5, 9, (batch, length), device=device)
    seeds = torch.arange(batch, device=device)
    arguments = {"model": network(model, device), "input_ids": input_ids, "dtype": dtype}
    if model == "mergedna":
        return {**arguments, "keep_ratio": 0.5, "sample_seeds": seeds}
    masked = mask_bases(input_ids, seeds)
    if model == "mxdna":
        ids, _ = between_special_tokens(masked.input_ids, torch.ones_like(input_ids))
        labels = F.pad(masked.labels, (1, 1), value=IGNORE_INDEX)
        return {**arguments, "input_ids": ids, "labels": labels, "noise_seeds": seeds}
    return {**arguments, "input_ids": masked.input_ids, "labels": masked.labels}


def step(model, input_ids, dtype, **arguments):
    """Forward and backward of one optimizer step; the first of its losses."""
    model.zero_grad()
    enabled = dtype != torch.float32
    with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=enabled):
        output = model(input_ids, **arguments)
    output.loss.backward()
    return next(iter(output.losses.values())).detach()


def step_in_eager(**arguments):
    with use_backend("torch"):
        return step(**arguments)


@functools.cache
def flops(**shape):
    """Floating-point operations of all matrix products of a step, attention's included."""
    with FlopCounterMode(display=False) as counter:
        step_in_eager(**inputs(torch.device("cpu"), **{**shape, "dtype": torch.float32}))
    return counter.get_total_flops()


CASE = Case(
    name="pretraining_step",
    shapes=[
        {"model": "mergedna", "batch": 8, "length": 512, "dtype": torch.float32},
        {"model": "mergedna", "batch": 8, "length": 512, "dtype": torch.bfloat16},
        {"model": "dnachunker", "batch": 8, "length": 512, "dtype": torch.bfloat16},
        {"model": "dnachunker", "batch": 1, "length": 8192, "dtype": torch.bfloat16},
        {"model": "mxdna", "batch": 8, "length": 512, "dtype": torch.bfloat16},
    ],
    inputs=inputs,
    ours=step,
    rivals={"operations in PyTorch": step_in_eager},
    forward_work=lambda dtype, **shape: Work(flops=flops(**shape, dtype=torch.float32), dtype=dtype),
    breakdown=True,
)
