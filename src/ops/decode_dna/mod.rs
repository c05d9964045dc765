//! Ids to DNA strings: sequence `b` is `offsets[b]..offsets[b + 1]` of `ids [total] u8`.
//!
//! Lower case where `repeat_mask [total] bool` is set. Decoding what was encoded gives the text back, read: `U` as
//! `T`, other IUPAC codes as `N`.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
