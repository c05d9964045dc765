//! One vector for each chunk: the mean of its positions, or the vector at its first.
//!
//! `x [B, N, D]` float, `token_index [B, N]` int64: the chunk of each position, contiguous and numbered from
//! the left, −1 on right padding. Result `[B, L, D]`, 0 in rows past a sequence's chunks. Means run in the
//! accumulator type in the order of positions; sums never cross threads: bit-equal for any number of them.
//! The backward is the adjoint map, so the forward is the backward's gradient.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// What stands for a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of its positions.
    Mean,
    /// The vector at its first position.
    Boundary,
}
