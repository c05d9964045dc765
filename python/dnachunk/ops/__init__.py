"""Fused tokenization operations: Rust kernels on the CPU, Triton kernels on GPUs, PyTorch everywhere else."""

from dnachunk._lazy import after_import
from dnachunk.ops._backend import backend_of, use_backend
from dnachunk.ops.basic_units import basic_units
from dnachunk.ops.boundary_routing import boundary_routing
from dnachunk.ops.causal_conv import causal_conv
from dnachunk.ops.chunk_pool import chunk_pool
from dnachunk.ops.dechunk import dechunk
from dnachunk.ops.decode_dna import decode_dna
from dnachunk.ops.deformable_conv import deformable_conv
from dnachunk.ops.encode_dna import encode_dna
from dnachunk.ops.global_match import global_match
from dnachunk.ops.neighbor_cosine import neighbor_cosine
from dnachunk.ops.neighbor_match import neighbor_match
from dnachunk.ops.rms_norm import rms_norm
from dnachunk.ops.rotary import rotary
from dnachunk.ops.selective_scan import selective_scan
from dnachunk.ops.soft_assignment import soft_assignment
from dnachunk.ops.soft_merge import soft_merge
from dnachunk.ops.swiglu import swiglu
from dnachunk.ops.token_merge import token_merge
from dnachunk.ops.token_sum import token_sum
from dnachunk.ops.token_unmerge import token_unmerge
from dnachunk.ops.unit_gather import unit_gather
from dnachunk.ops.unit_scatter import unit_scatter
from dnachunk.ops.window_attention import window_attention
from dnachunk.ops.window_center import window_center

__all__ = [
    "backend_of",
    "basic_units",
    "boundary_routing",
    "causal_conv",
    "chunk_pool",
    "dechunk",
    "decode_dna",
    "deformable_conv",
    "encode_dna",
    "global_match",
    "neighbor_cosine",
    "neighbor_match",
    "rms_norm",
    "rotary",
    "selective_scan",
    "soft_assignment",
    "soft_merge",
    "swiglu",
    "token_merge",
    "token_sum",
    "token_unmerge",
    "unit_gather",
    "unit_scatter",
    "use_backend",
    "window_attention",
    "window_center",
]

# That module takes a third of a second to load, and few need it.
after_import("torch.utils.flop_counter", ["dnachunk.ops._flops"])
