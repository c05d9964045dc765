//! The sum over each token's positions: `x [B, N, D]`, `token_index [B, N]` int64 in `[-1, L)` to `[B, L, D]`.
//!
//! Positions are added in ascending order; a token of none is 0. The index need not be monotone. Its gradient
//! is `token_unmerge`. The kernel is [`sum`](crate::indexed_rows::sum).

#[cfg(feature = "python")]
pub mod binding;
