//! Rotary positions of packed queries and keys.
//!
//! `qkv [B, L, 3, H, d]` float; `cos`, `sin [B or 1, L, d / 2]` in the accumulator type. The halves of `d`
//! are real and imaginary parts: queries and keys turn by the angle, values are copied. The gradient turns
//! back. Element-wise: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
