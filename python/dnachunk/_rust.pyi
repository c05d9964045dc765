"""The compiled module; `dnachunk.ops` and `dnachunk.data` are its documented surface."""

import os
from collections.abc import Sequence
from typing import final

from torch import Tensor

__all__ = [
    "Genome",
    "build_info",
    "decode_dna",
    "encode_dna",
    "global_match_forward",
    "neighbor_cosine_backward",
    "neighbor_cosine_forward",
    "neighbor_match_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "rotary_backward",
    "rotary_forward",
    "swiglu_backward",
    "swiglu_forward",
    "token_merge_backward",
    "token_merge_forward",
    "token_sum_forward",
    "token_unmerge_forward",
    "window_attention_backward",
    "window_attention_forward",
]

def build_info() -> dict[str, str]: ...

@final
class Genome:
    def __new__(cls, path: str | os.PathLike[str]) -> Genome: ...
    def records(self) -> list[tuple[str, int]]: ...
    def fetch(
        self, record_index: int, start_bp: int, end_bp: int, reverse_complement: bool = False
    ) -> tuple[Tensor, Tensor]: ...

def decode_dna(ids: Tensor, offsets: Tensor, repeat_mask: Tensor | None) -> list[str]: ...
def encode_dna(sequences: Sequence[bytes | str]) -> tuple[Tensor, Tensor, Tensor]: ...
def global_match_forward(metric: Tensor, lengths: Tensor, num_merges: Tensor) -> Tensor: ...
def neighbor_cosine_backward(
    grouping: Tensor, scores: Tensor, norms: Tensor, grad_scores: Tensor
) -> Tensor: ...
def neighbor_cosine_forward(grouping: Tensor) -> tuple[Tensor, Tensor]: ...
def neighbor_match_forward(
    scores: Tensor, lengths: Tensor, num_merges: Tensor, window: int, shift: int, budget: str
) -> tuple[Tensor, Tensor]: ...
def rms_norm_backward(x: Tensor, weight: Tensor, inverse: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]: ...
def rms_norm_forward(x: Tensor, weight: Tensor, epsilon: float, dtype: str) -> tuple[Tensor, Tensor]: ...
def rotary_backward(grad: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...
def rotary_forward(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...
def swiglu_backward(gate_up: Tensor, grad: Tensor) -> Tensor: ...
def swiglu_forward(gate_up: Tensor) -> Tensor: ...
def token_merge_backward(
    grad: Tensor,
    x: Tensor,
    merged: Tensor,
    sizes: Tensor,
    merged_sizes: Tensor,
    token_index: Tensor,
    scores: Tensor | None,
    threshold: Tensor | None,
    window: int,
    shift: int,
    temperature: float,
) -> tuple[Tensor, Tensor]: ...
def token_merge_forward(
    x: Tensor,
    sizes: Tensor,
    token_index: Tensor,
    num_tokens: int,
    _scores: Tensor | None,
    _threshold: Tensor | None,
    _window: int,
    _shift: int,
    _temperature: float,
) -> tuple[Tensor, Tensor]: ...
def token_sum_forward(x: Tensor, token_index: Tensor, num_tokens: int) -> Tensor: ...
def token_unmerge_forward(x: Tensor, token_index: Tensor) -> Tensor: ...
def window_attention_backward(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    lengths: Tensor,
    grad_output: Tensor,
    window: int,
    shift: int,
) -> Tensor: ...
def window_attention_forward(
    qkv: Tensor, cos: Tensor, sin: Tensor, lengths: Tensor, window: int, shift: int
) -> Tensor: ...
