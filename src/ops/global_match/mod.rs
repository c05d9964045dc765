//! `ToMe`'s bipartite matching over a whole sequence: which tokens join which, and every token's new number.
//!
//! `metric [B, L, C]` float, `lengths [B]`, `num_merges [B]`; result `token_index [B, L]` int64, −1 at and after
//! a sequence's length. Tokens at even places are candidates, those at odd places keepers. A candidate proposes
//! to the keeper with the highest cosine, rounded to multiples of 2⁻¹² before any comparison, ties to the lower
//! position; the best `num_merges[b]` proposals are accepted, ties to the lower position, and what survives is
//! renumbered in order. A cosine that is not a number is below every other.
//!
//! The similarities of a sequence exist only as tiles in registers: memory is O(B L C). Each candidate's proposal
//! is one task's alone and sums over channels in order: bit-equal for any number of threads and on any CPU.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Smallest norm that a vector is divided by.
pub const EPSILON: f64 = 1e-8;

/// Steps of the scores' grid per unit of cosine.
pub const GRID: f64 = 4096.0;

/// Pairs that a sequence can merge at most: its candidates, unless it has no keeper.
#[must_use]
pub const fn max_merges(length: usize) -> usize {
    if length < 2 { 0 } else { length.div_ceil(2) }
}
