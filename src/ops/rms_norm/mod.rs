//! Root-mean-square norm: `out = x / √(mean(x²) + ε) ⊙ weight` of each row.
//!
//! `x [R, D]` float, `weight [D]` in the accumulator type; `out [R, D]` in the dtype of `x`, or bfloat16 or
//! float16 of float32 `x`, so that what reads it under autocast needs no pass to convert. Sums run in the
//! accumulator type; the gradient of `weight` is summed over fixed blocks of rows and then over blocks, so
//! it has the same bits for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
