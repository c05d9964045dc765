//! How much of itself each candidate gives to the neighbours on its left and right: a relaxed top-r in windows.
//!
//! `scores [B, N]` float32 or float64, `scores[b, i]` that of positions `i` and `i + 1`; `lengths [B]` real
//! positions; `num_merges [B]`. In each window the 1st, 3rd, … position is a candidate `i`, the 2nd, 4th, … a
//! keeper. Result `[B, N, 2]`: `a_ij = min(s_i, MOST) softmax_j(c_ij / τ)` over the keepers `j` beside the
//! candidate, 0 at keepers and on padding. `s = Σ_k clamp(r − k, 0, 1) p^k` with
//! `p^k = softmax(l^k / τ)` over the window's candidates, `l^0` the better of a candidate's scores and
//! `l^{k+1} = l^k + log max(1 − p^k, LEAST)`, and `r` the window's share of `num_merges` by its candidates.
//!
//! The backward computes every `p^k` of a window again and goes through them in reverse. Where both scores are
//! equal, each takes half of the gradient of the better one. Nothing is summed across windows: bit-equal for
//! any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// What a candidate gives at most: where it stays, it is to have a mass.
pub const MOST: f64 = 0.999;
/// Of `1 − p` where a candidate has been chosen for certain.
pub const LEAST: f64 = 1e-30;
/// Positions of a window at most: the backward keeps a number for each candidate and step.
pub const LARGEST_WINDOW: usize = 512;
