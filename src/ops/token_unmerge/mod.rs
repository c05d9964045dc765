//! Tokens back to positions, and its adjoint.
//!
//! `token_unmerge`: `x [B, L, D]`, `token_index [B, N]` int64 in `[-1, L)` to `[B, N, D]`; position `i` takes
//! the vector of its token, or 0 at −1. `token_sum`: `x [B, N, D]` to `[B, L, D]`, the sum over each token's
//! positions in ascending order, 0 for a token of none. Each is the other's gradient. The index need not be
//! monotone; sums never cross threads: bit-equal for any number of them.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
