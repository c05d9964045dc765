//! The sampling half of a one-dimensional modulated deformable convolution; torch's matrix product with the
//! weight is the other: `columns_{i,m} = modulation_{i,m} · X(i + m − ⌊f/2⌋ + offset_{i,m})`.
//!
//! `x [B, K, D]` float, `offset` and `modulation [B, K, f]` in the accumulator type, `lengths [B]` real rows;
//! result `[B, K, f, D]`. `X(p) = (1 − p + ⌊p⌋) x_⌊p⌋ + (p − ⌊p⌋) x_{⌊p⌋+1}` with rows outside `[0, length)`
//! zero; its derivative is `x_{⌊p⌋+1} − x_⌊p⌋`, at whole positions too. An offset that is not finite reads
//! outside. The offset alone is split into whole and fraction, so a position is as exact at the end of a long
//! sequence as at its start.
//!
//! The gradient of a row gathers the samples that read it, by position, then by tap: bit-equal for any number
//! of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
