//! Rows of the bases of units out of sequences, and the units' vectors back to their centres.
//!
//! `unit_gather`: `x [B, N, D]`, `position [M]` int64 in `[0, B·N)` to `[M, D]`, row `position[m]` of the
//! flattened `x`; its gradient sums the rows of equal positions in ascending order of `m`. `unit_scatter`:
//! `residual [B, N, D]` plus `weight[m] · values[m]` at row `position[m]`, positions unique; its gradients are
//! those of `values`, `weight` and, unchanged, of `residual`. `weight` and its gradient are of the accumulator
//! type. Every row is one task's alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
