//! The vectors of units back to their centres: `residual [B, N, D]` plus `weight[m] · values[m]` at row
//! `position[m]` of the flattened result.
//!
//! `values [M, D]`, `weight [M]`, `position [M]` int64 in `[0, B·N)`, no two alike. The gradients are those of
//! `values`, `weight` and, unchanged, of `residual`. `weight` and its gradient are of the accumulator type. Every
//! row is one task's alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
