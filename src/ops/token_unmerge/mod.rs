//! Tokens back to positions: `x [B, L, D]`, `token_index [B, N]` int64 in `[-1, L)` to `[B, N, D]`.
//!
//! Position `i` takes the vector of its token, or 0 at −1. The index need not be monotone. Its gradient is
//! `token_sum`. The kernel is [`take`](crate::indexed_rows::take).

#[cfg(feature = "python")]
pub mod binding;
