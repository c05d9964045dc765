import torch

from benchmarks.case import Case, Work
from dnachunk.ops import global_match
from dnachunk.ops.global_match import global_match_torch


def inputs(device, batch, length, channels):
    # Codes of ±1: all forms compute the same exact scores, so ties fall alike.
    metric = torch.randint(0, 2, (batch, length, channels), device=device) * 2.0 - 1.0
    lengths = torch.full((batch,), length, device=device)
    return {"metric": metric, "lengths": lengths, "num_merges": lengths // 4}


def work(batch, length, channels):
    flops = 2 * batch * (length // 2) * ((length + 1) // 2) * channels
    return Work(bytes=batch * length * (4 * channels + 8), flops=flops)


CASE = Case(
    name="global_match",
    shapes=[
        {"batch": 16, "length": 256, "channels": 64},
        {"batch": 8, "length": 2048, "channels": 64},
        {"batch": 1, "length": 16384, "channels": 64},
        {"batch": 1, "length": 65536, "channels": 64},
    ],
    inputs=inputs,
    ours=global_match,
    rivals={"eager": global_match_torch},
    # The tiles are unrolled: above this, compiling takes minutes.
    skips={"compiled": lambda length, **_: length > 2048},
    forward_work=work,
)
