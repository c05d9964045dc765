//! Rows of the bases of units out of sequences: `x [B, N, D]`, `position [M]` int64 in `[0, B·N)` to `[M, D]`.
//!
//! Row `m` is row `position[m]` of the flattened `x`; the gradient sums the rows of equal positions in ascending
//! order of `m`. The kernels are those of [`indexed_rows`](crate::indexed_rows), of one long sequence.

#[cfg(feature = "python")]
pub mod binding;
