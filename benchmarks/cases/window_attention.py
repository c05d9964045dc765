import torch
import torch.nn.functional as F

from benchmarks.case import Case, Work
from dnachunk.ops import window_attention
from dnachunk.ops.window_attention import window_attention_torch

WINDOW = 16


def inputs(device, batch, length, heads, head_dim, dtype, rope):
    qkv = torch.randn(batch, length, 3, heads, head_dim, device=device).to(dtype)
    frequencies = 10_000.0 ** -torch.linspace(0, 1, head_dim // 2, device=device)
    angles = torch.arange(length, device=device)[:, None] * frequencies * rope
    lengths = torch.full((batch,), length, device=device)
    return {"qkv": qkv, "cos": angles.cos()[None], "sin": angles.sin()[None], "lengths": lengths}


def sdpa(qkv, cos, sin, lengths):
    """Windows of full sequences, neither rotated nor masked."""
    batch, length, _, heads, head_dim = qkv.shape
    windows = qkv.view(batch * length // WINDOW, WINDOW, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(*windows).transpose(1, 2).reshape(batch, length, heads, head_dim)


def sdpa_with_rope(qkv, cos, sin, lengths):
    first, second = qkv[:, :, :2].chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return sdpa(torch.cat([rotated.to(qkv.dtype), qkv[:, :, 2:]], dim=2), cos, sin, lengths)


def forward_work(batch, length, heads, head_dim, dtype, rope):
    values = batch * length * heads * head_dim
    return Work(bytes=4 * values * dtype.itemsize, flops=4 * values * WINDOW)


def backward_work(batch, length, heads, head_dim, dtype, rope):
    values = batch * length * heads * head_dim
    return Work(bytes=7 * values * dtype.itemsize, flops=10 * values * WINDOW)


def shape(batch, length, heads, head_dim, dtype, rope):
    return {
        "batch": batch,
        "length": length,
        "heads": heads,
        "head_dim": head_dim,
        "dtype": dtype,
        "rope": rope,
    }


CASE = Case(
    name="window_attention",
    shapes=[
        shape(16, 512, 8, 32, torch.float32, True),
        shape(16, 512, 8, 32, torch.bfloat16, True),
        shape(16, 512, 8, 32, torch.float32, False),
        shape(2, 4096, 16, 64, torch.float32, True),
        shape(2, 4096, 16, 64, torch.bfloat16, True),
    ],
    inputs=inputs,
    ours=window_attention,
    rivals={"eager": window_attention_torch, "SDPA": sdpa, "SDPA with RoPE": sdpa_with_rope},
    skips={"SDPA": lambda rope, **_: rope, "SDPA with RoPE": lambda rope, **_: not rope},
    differentiable=["qkv"],
    forward_work=forward_work,
    backward_work=backward_work,
)
