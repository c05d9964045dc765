//! Cosine similarity of each position with its right neighbour, `c_i = ⟨g_i, g_{i+1}⟩ / (‖g_i‖ ‖g_{i+1}‖)`.
//!
//! `g [B, N, G]` float; result `[B, N]` in the accumulator type, the last column 0. Norms are clamped from
//! below at `EPSILON`, so a zero vector is similar to nothing and gets a finite gradient. Every row depends
//! on its own and its neighbours' values alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Smallest norm that a vector is divided by.
pub const EPSILON: f64 = 1e-8;
