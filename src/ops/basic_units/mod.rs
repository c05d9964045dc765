//! Greedy non-maximum suppression of `MxDNA`'s basic units, without overlap.
//!
//! `scores [B, N, E]` float, a kernel size in 1..=64 for each expert, a range of bases for each sequence; results
//! `token_index [B, N]`, `num_tokens [B]`, `token_center [B, N]`, `token_expert [B, N]` int64. A candidate is a
//! position `i` with an expert `j`; its unit covers `[i − ⌊L_j/2⌋, i + ⌈L_j/2⌉)` and lies inside the range. By
//! descending score, ties to the lower position and then to the lower expert, a candidate whose unit is free is
//! taken. Bases that no unit covers are tokens of their own, with expert −1. A score that is not a number counts
//! as −∞, and −0 as 0.
//!
//! What is taken is unique, so no order of work and no number of threads can change it.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Largest kernel size.
pub const MAX_SIZE: i64 = 64;
