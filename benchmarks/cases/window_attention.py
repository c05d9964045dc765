import torch
import torch.nn.functional as F

from benchmarks.case import Case, Work
from dnachunk.ops import window_attention
from dnachunk.ops.window_attention import window_attention_torch

WINDOW = 16


def inputs(device, batch, length, heads, head_dim, dtype, rope, bias):
    qkv = torch.randn(batch, length, 3, heads, head_dim, device=device).to(dtype)
    frequencies = 10_000.0 ** -torch.linspace(0, 1, head_dim // 2, device=device)
    angles = torch.arange(length, device=device)[:, None] * frequencies * rope
    lengths = torch.full((batch,), length, device=device)
    arguments = {"qkv": qkv, "cos": angles.cos()[None], "sin": angles.sin()[None], "lengths": lengths}
    if bias:
        arguments["bias"] = torch.rand(batch, length, device=device).log()
    return arguments


def sdpa(qkv, cos, sin, lengths, bias=None):
    """Windows of full sequences, not rotated; masked by a bias alone."""
    batch, length, _, heads, head_dim = qkv.shape
    windows = qkv.view(batch * length // WINDOW, WINDOW, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
    mask = None if bias is None else bias.view(-1, 1, 1, WINDOW).to(qkv.dtype)
    out = F.scaled_dot_product_attention(*windows, attn_mask=mask)
    return out.transpose(1, 2).reshape(batch, length, heads, head_dim)


def sdpa_with_rope(qkv, cos, sin, lengths, bias=None):
    first, second = qkv[:, :, :2].chunk(2, dim=-1)
    cos, sin = cos[:, :, None, None], sin[:, :, None, None]
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return sdpa(torch.cat([rotated.to(qkv.dtype), qkv[:, :, 2:]], dim=2), cos, sin, lengths, bias)


def forward_work(batch, length, heads, head_dim, dtype, rope, bias):
    values = batch * length * heads * head_dim
    return Work(bytes=4 * values * dtype.itemsize, flops=4 * values * WINDOW)


def backward_work(batch, length, heads, head_dim, dtype, rope, bias):
    values = batch * length * heads * head_dim
    return Work(bytes=7 * values * dtype.itemsize, flops=10 * values * WINDOW)


def shape(batch, length, heads, head_dim, dtype, rope, bias=False):
    return {
        "batch": batch,
        "length": length,
        "heads": heads,
        "head_dim": head_dim,
        "dtype": dtype,
        "rope": rope,
        "bias": bias,
    }


CASE = Case(
    name="window_attention",
    shapes=[
        shape(16, 512, 8, 32, torch.float32, True),
        shape(16, 512, 8, 32, torch.bfloat16, True),
        shape(16, 512, 8, 32, torch.float32, False),
        shape(16, 512, 8, 32, torch.float32, True, bias=True),
        shape(16, 512, 8, 32, torch.bfloat16, True, bias=True),
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
