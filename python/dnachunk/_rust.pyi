"""The compiled module; `dnachunk.ops` and `dnachunk.data` are its documented surface."""

import os
from collections.abc import Sequence
from typing import final

from torch import Tensor

__all__ = [
    "BgzipWriter",
    "Genome",
    "basic_units_forward",
    "boundary_routing_backward",
    "boundary_routing_forward",
    "build_info",
    "causal_conv_backward",
    "causal_conv_forward",
    "chunk_pool_backward",
    "chunk_pool_forward",
    "dechunk_backward",
    "dechunk_forward",
    "decode_dna",
    "deformable_conv_backward",
    "deformable_conv_forward",
    "encode_dna",
    "foreign_file",
    "global_match_forward",
    "neighbor_cosine_backward",
    "neighbor_cosine_forward",
    "neighbor_match_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "rotary_backward",
    "rotary_forward",
    "selective_scan_backward",
    "selective_scan_forward",
    "soft_assignment_backward",
    "soft_assignment_forward",
    "soft_merge_backward",
    "soft_merge_forward",
    "swiglu_backward",
    "swiglu_forward",
    "token_merge_backward",
    "token_merge_forward",
    "token_sum_forward",
    "token_unmerge_forward",
    "unit_gather_backward",
    "unit_gather_forward",
    "unit_scatter_backward",
    "unit_scatter_forward",
    "window_attention_backward",
    "window_attention_forward",
    "window_center_forward",
]

def build_info() -> dict[str, str]: ...

@final
class BgzipWriter:
    def __new__(
        cls,
        path: str | os.PathLike[str],
        index_path: str | os.PathLike[str] | None = None,
        longest_bp: int = 0,
        layout: str = "bed",
    ) -> BgzipWriter: ...
    @staticmethod
    def index_ending(longest_bp: int) -> str: ...
    @property
    def closed(self) -> bool: ...
    def write(self, data: bytes) -> int: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    @staticmethod
    def readable() -> bool: ...
    @staticmethod
    def writable() -> bool: ...
    @staticmethod
    def seekable() -> bool: ...

@final
class Genome:
    def __new__(
        cls, path: str | os.PathLike[str], contents: str | os.PathLike[str], skips_faults: bool
    ) -> Genome: ...
    def records(self) -> list[tuple[str, int]]: ...
    def skipped(self) -> list[tuple[str, str]]: ...
    def fetch(
        self, record_index: int, start_bp: int, end_bp: int, reverse_complement: bool = False
    ) -> tuple[Tensor, Tensor]: ...

def basic_units_forward(
    scores: Tensor, kernel_sizes: Sequence[int], starts: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...
def boundary_routing_backward(
    grad_probability: Tensor, boundary_probability: Tensor, inverse_norms: Tensor, query: Tensor, key: Tensor
) -> tuple[Tensor, Tensor]: ...
def boundary_routing_forward(
    query: Tensor, key: Tensor, lengths: Tensor, is_protected: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]: ...
def causal_conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]: ...
def causal_conv_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor, silu: bool, reverse: bool
) -> Tensor: ...
def chunk_pool_backward(grad: Tensor, token_index: Tensor, pooling: str) -> Tensor: ...
def chunk_pool_forward(x: Tensor, token_index: Tensor, max_tokens: int, pooling: str) -> Tensor: ...
def dechunk_backward(
    grad: Tensor,
    values: Tensor,
    boundary_probability: Tensor,
    is_forced: Tensor,
    token_index: Tensor,
    backward_gate: str,
) -> tuple[Tensor, Tensor]: ...
def dechunk_forward(
    values: Tensor, boundary_probability: Tensor, is_forced: Tensor, token_index: Tensor, backward_gate: str
) -> Tensor: ...
def decode_dna(ids: Tensor, offsets: Tensor, repeat_mask: Tensor | None) -> list[str]: ...
def deformable_conv_backward(
    grad_columns: Tensor, x: Tensor, offset: Tensor, modulation: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]: ...
def deformable_conv_forward(
    x: Tensor, offset: Tensor, modulation: Tensor, lengths: Tensor | None
) -> Tensor: ...
def encode_dna(sequences: Sequence[bytes | str]) -> tuple[Tensor, Tensor, Tensor]: ...
def foreign_file(start: bytes) -> str | None: ...
def global_match_forward(metric: Tensor, lengths: Tensor, num_merges: Tensor) -> Tensor: ...
def neighbor_cosine_backward(
    grad_scores: Tensor, scores: Tensor, norms: Tensor, grouping: Tensor
) -> Tensor: ...
def neighbor_cosine_forward(grouping: Tensor) -> tuple[Tensor, Tensor]: ...
def neighbor_match_forward(
    scores: Tensor, lengths: Tensor, num_merges: Tensor, window: int, shift: int, budget: str
) -> tuple[Tensor, Tensor]: ...
def rms_norm_backward(grad: Tensor, inverse: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]: ...
def rms_norm_forward(x: Tensor, weight: Tensor, epsilon: float, dtype: str) -> tuple[Tensor, Tensor]: ...
def rotary_backward(grad: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...
def rotary_forward(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...
def selective_scan_backward(
    grad: Tensor,
    states: Tensor,
    x: Tensor,
    delta: Tensor,
    state_matrix: Tensor,
    input_matrix: Tensor,
    output_matrix: Tensor,
    skip: Tensor,
    gate: Tensor | None,
    delta_bias: Tensor | None,
    lengths: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]: ...
def selective_scan_forward(
    x: Tensor,
    delta: Tensor,
    state_matrix: Tensor,
    input_matrix: Tensor,
    output_matrix: Tensor,
    skip: Tensor,
    gate: Tensor | None,
    delta_bias: Tensor | None,
    lengths: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]: ...
def soft_assignment_backward(
    grad: Tensor,
    scores: Tensor,
    lengths: Tensor,
    num_merges: Tensor,
    window: int,
    shift: int,
    temperature: float,
) -> Tensor: ...
def soft_assignment_forward(
    scores: Tensor, lengths: Tensor, num_merges: Tensor, window: int, shift: int, temperature: float
) -> Tensor: ...
def soft_merge_backward(
    grad: Tensor,
    grad_mass: Tensor,
    x: Tensor,
    mass: Tensor,
    assignment: Tensor,
    token_index: Tensor,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor, Tensor]: ...
def soft_merge_forward(
    x: Tensor,
    mass: Tensor,
    assignment: Tensor,
    token_index: Tensor,
    num_tokens: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]: ...
def swiglu_backward(grad: Tensor, gate_up: Tensor) -> Tensor: ...
def swiglu_forward(gate_up: Tensor) -> Tensor: ...
def token_merge_backward(
    grad: Tensor,
    merged_sizes: Tensor,
    x: Tensor,
    sizes: Tensor,
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
def unit_gather_backward(grad: Tensor, position: Tensor, batch: int, length: int) -> Tensor: ...
def unit_gather_forward(x: Tensor, position: Tensor) -> Tensor: ...
def unit_scatter_backward(
    grad: Tensor, values: Tensor, weight: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]: ...
def unit_scatter_forward(residual: Tensor, values: Tensor, weight: Tensor, position: Tensor) -> Tensor: ...
def window_attention_backward(
    grad: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    lengths: Tensor,
    window: int,
    shift: int,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor]: ...
def window_attention_forward(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    lengths: Tensor,
    window: int,
    shift: int,
    bias: Tensor | None,
) -> Tensor: ...
def window_center_forward(x: Tensor, lengths: Tensor, window: int, shift: int) -> Tensor: ...
