"""Attention inside local windows."""

from dnachunk.ops.window_attention.naive import window_attention_naive, window_attention_torch
from dnachunk.ops.window_attention.op import window_attention

__all__ = ["window_attention", "window_attention_naive", "window_attention_torch"]
