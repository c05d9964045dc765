//! Positions into tokens: the size-weighted mean of each token's positions, and its straight-through gradient.
//!
//! `x [B, N, D]` float, `sizes [B, N]` int64 bases per position, `token_index [B, N]` int64 in `[-1, L)`;
//! result `x [B, L, D]` with `y_t = Σ s_i x_i / S_t`, `S_t = Σ s_i`, and `S [B, L]`; a token of one position
//! is copied, a token of none is 0. The index need not be monotone.
//!
//! With `scores` and `threshold` of [`neighbor_match`](super::neighbor_match), each candidate edge enters the
//! mean as `a = hard + soft − stop_gradient(soft)`: the values stay, and the scores receive
//! `∂L/∂a = s_m / S_t ⟨∂L/∂y_t, x_m − y_t⟩` for candidate `m` and its keeper's token `t`, through
//! `soft_e = σ((c_e − θ) / τ) softmax(c / τ)_e`. Every score belongs to one candidate, so nothing is summed
//! across positions: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
