//! The operations, one folder each: `mod.rs` the contract, `cpu.rs` the kernel on slices, `binding.rs` the
//! Python entry points.

pub mod basic_units;
pub mod boundary_routing;
pub mod causal_conv;
pub mod chunk_pool;
pub mod dechunk;
pub mod deformable_conv;
pub mod dna_codec;
pub mod global_match;
pub mod neighbor_cosine;
pub mod neighbor_match;
pub mod rms_norm;
pub mod rotary;
pub mod selective_scan;
pub mod swiglu;
pub mod token_merge;
pub mod token_unmerge;
pub mod unit_gather;
pub mod window_attention;
