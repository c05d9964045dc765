//! Where chunks begin: by how far each position's query turns from the key of the position before.
//!
//! `query`, `key` `[B, N, D]` float, `lengths [B]` int64, `is_protected [B, N]` bool or none.
//! `p_t = ½ (1 − cos(q_t, k_{t−1}))` in the accumulator type; the cosine with a vector no longer than
//! [`EPSILON`] is 1, without gradient. A boundary is forced, with `p = 1` and no gradient, at the first real
//! position, at every protected one and at the real one after it; free ones are where the cosine, rounded
//! (half to even) to multiples of 2⁻¹², is at most 0. Padding has `p = 0`, no boundary and token −1; nothing
//! there is read. Every row depends on two rows alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Vectors up to this norm count as zero.
pub const EPSILON: f64 = 1e-8;

/// Largest cosine that rounds to 0, half a step of the grid of 2⁻¹².
pub const LARGEST_BOUNDARY_COSINE: f64 = 1.0 / 8192.0;
