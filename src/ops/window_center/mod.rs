//! What tells the positions of a window apart: their vectors, of equal length, less their mean. No gradient.
//!
//! `x [B, N, D]` float; `lengths [B]` real positions; result `[B, N, D]` in the accumulator type. With
//! `u_i = x_i / √(mean(x_i²) + EPSILON)`, `y_i = u_i − mean_j u_j` over the real positions `j` of the window;
//! 0 on padding. Every window is summed by itself, in order: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Added to the mean square of a vector.
pub const EPSILON: f64 = 1e-6;
