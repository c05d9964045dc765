//! Chunks back to positions, smoothed in both directions with the boundary probabilities as gates.
//!
//! `values [B, L, D]` float, `boundary_probability [B, N]` in the accumulator type, `is_forced [B, N]` bool,
//! `token_index [B, N]` int64: the chunk of each position, contiguous and numbered from the left, −1 on right
//! padding. With `z̃_t = values[token_index_t]`, which is never stored:
//! forward `h_t = p_t z̃_t + (1 − p_t) h_{t−1}`, `z̃` at the first position;
//! backward `h_t = p'_t z̃_t + (1 − p'_t) h_{t+1}`, `z̃` at the last real position; result, `[B, N, D]`, half
//! their sum, 0 on padding. `p'_t` is `p_{t+1}`, the boundary on the right, or `p_t`. Gates are exactly 1,
//! without gradient, at forced boundaries, and clamped to `[1e-4, 1 − 1e-4]` elsewhere.
//!
//! A task owns a tile: whole chunks, about as many positions as keep their states in the cache. What the
//! states are at the edges of tiles is found first, each tile's share as one weighted sum of its chunks' vectors
//! and then from tile to tile; so tiles are walked independently, from the right and then from the left beside
//! those states. The backward does the same with the gradients of the states. Nothing depends on the batch or on
//! the number of threads: the same bits for any.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Gates of free boundaries lie in `[SMALLEST_GATE, 1 − SMALLEST_GATE]`.
pub const SMALLEST_GATE: f64 = 1e-4;

/// The probability that gates the recurrence from the right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BackwardGate {
    /// That of the boundary on the right of the position.
    Right,
    /// That of the position itself.
    Left,
}
