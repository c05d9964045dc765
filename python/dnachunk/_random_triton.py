"""Triton kernel of ``counter_uniform``."""

import torch
import triton
import triton.language as tl

from dnachunk.ops._triton import kernel

# Numbers of a program.
BLOCK = 1024

INCREMENT = tl.constexpr(0x9E3779B97F4A7C15)
FIRST, SECOND = tl.constexpr(0xBF58476D1CE4E5B9), tl.constexpr(0x94D049BB133111EB)


@triton.jit
def _step(state):
    """A step of SplitMix64, on uint64."""
    state += INCREMENT
    state = (state ^ (state >> 30)) * FIRST
    state = (state ^ (state >> 27)) * SECOND
    return state ^ (state >> 31)


@kernel("stream", "count")
def uniform_kernel(seeds, out, stream, count, BLOCK: tl.constexpr):
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    # The seed in every lane: numpy warns where a lone number wraps around, which the interpreter's would.
    seed = tl.load(seeds + b + i * 0).to(tl.uint64, bitcast=True)
    key = (i * 0 + stream).to(tl.uint64, bitcast=True)
    state = _step(_step(seed) ^ key)
    bits = _step(state ^ i.to(tl.uint64, bitcast=True)) >> 12
    uniform = (bits.to(tl.int64, bitcast=True).to(tl.float64) + 0.5) * 2.220446049250313e-16
    tl.store(out + b * count + i, uniform, mask=i < count)


def forward(seeds: torch.Tensor, count: int, stream: int) -> torch.Tensor:
    """``torch.ops.dnachunk.counter_uniform``."""
    out = seeds.new_empty((len(seeds), count), dtype=torch.float64)
    if out.numel():
        uniform_kernel[(triton.cdiv(count, BLOCK), len(seeds))](
            seeds.contiguous(), out, stream, count, BLOCK=BLOCK
        )
    return out


__all__ = ["forward"]
