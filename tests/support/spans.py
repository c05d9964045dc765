"""Variable-length attention as if the CPU had it."""

import contextlib
import importlib.util
from unittest import mock

import pytest
import torch

from dnachunk.nn import attention
from dnachunk.ops import use_backend


def varlen_attn_naive(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k):
    """What torch's is: each row of ``[T, H, d]`` attends to those of its span alone."""
    assert cu_seq_q is cu_seq_k
    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k
    span = torch.searchsorted(cu_seq_q, torch.arange(len(query), dtype=torch.int32), right=True)
    scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(span[:, None] != span[None], -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), value)


def _yes(*_):
    return True


@contextlib.contextmanager
def attending_to_spans():
    """Makes self-attention take it on the CPU, in any dtype."""
    with (
        use_backend("torch"),
        mock.patch.object(attention, "_takes_spans", _yes),
        mock.patch("torch.nn.attention.varlen.varlen_attn", varlen_attn_naive),
    ):
        yield


needs_varlen = pytest.mark.skipif(
    importlib.util.find_spec("torch.nn.attention.varlen") is None, reason="this torch has no varlen_attn"
)
