"""The definition of ``window_attention``, and its vectorised form for devices without a kernel."""

import itertools

import torch
import torch.nn.functional as F

from dnachunk.ops._lengths import real_positions


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def window_attention_naive(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    lengths: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.window_attention`."""
    batch, length, _, heads, head_dim = qkv.shape
    cos, sin = (x.expand(batch, -1, -1)[:, :, None] for x in (cos, sin))
    rows = []
    for row, real in enumerate(lengths.tolist()):
        query, key, value = qkv[row, :real].to(cos.dtype).unbind(1)
        query, key = (_rotate(x, cos[row, :real], sin[row, :real]) for x in (query, key))
        cuts = sorted({0, *range(shift or window, real, window), real})
        sizes = [end - start for start, end in itertools.pairwise(cuts)]
        outputs = [value[:0]]
        added = cos.new_zeros(real) if bias is None else bias[row, :real]
        for q, k, v, b in zip(*(x.split(sizes) for x in (query, key, value, added)), strict=True):
            scores = torch.einsum("qhd,khd->hqk", q, k) / head_dim**0.5 + b
            outputs.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v))
        rows.append(F.pad(torch.cat(outputs), (0, 0, 0, 0, 0, length - real)).to(qkv.dtype))
    return torch.stack(rows) if rows else qkv.new_zeros(0, length, heads, head_dim)


def window_attention_torch(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    lengths: torch.Tensor,
    window: int = 16,
    shift: int = 0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """See :func:`dnachunk.ops.window_attention`; here rotated queries and keys are rounded to their dtype."""
    batch, length, _, heads, head_dim = qkv.shape
    if qkv.numel() == 0:
        return qkv[:, :, 0]
    if window > length:
        window, shift = length, shift if shift < length else 0
    before = (window - shift) % window
    after = -(before + length) % window
    real = real_positions(lengths, length)
    query, key, value = qkv.where(real[:, :, None, None, None], 0).unbind(2)
    cos, sin = (x.where(real[:, :, None], 0)[:, :, None] for x in (cos, sin))
    query, key = (_rotate(x, cos, sin).to(qkv.dtype) for x in (query, key))

    def split(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 0, 0, 0, before, after)).reshape(-1, window, heads, head_dim).transpose(1, 2)

    attended = F.pad(real, (before, after)).reshape(-1, 1, 1, window)
    # A window of padding attends to its zeros: an empty softmax is not a number on some backends.
    attended = attended | ~attended.any(dim=-1, keepdim=True)
    if bias is not None:
        rows = F.pad(bias.where(real, 0), (before, after)).reshape(-1, 1, 1, window)
        attended = rows.masked_fill(~attended, -torch.inf).to(value.dtype)
    output = F.scaled_dot_product_attention(split(query), split(key), split(value), attn_mask=attended)
    output = output.transpose(1, 2).reshape(batch, -1, heads, head_dim)[:, before : before + length]
    # Under autocast the attention may have run in another dtype.
    return output.where(real[:, :, None, None], 0).to(qkv.dtype)
