//! DNA strings to ids, by the alphabet's reading rules ([`crate::alphabet`]).
//!
//! Sequences are laid out one after the other: `ids [total] u8`, `repeat_mask [total] bool` (lower case), and
//! `offsets [B + 1] i64`, so that sequence `b` is `offsets[b]..offsets[b + 1]`. A special token written in the
//! text (`[MASK]`) is one id.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
