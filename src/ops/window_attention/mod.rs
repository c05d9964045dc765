//! Attention inside consecutive windows of a sequence, with rotary positions applied to queries and keys.
//!
//! `qkv [B, N, 3, H, d]` float, `cos` and `sin` `[B or 1, N, d/2]` in the accumulator type, `lengths [B]`,
//! maybe `bias [B, N]` in the accumulator type, added to the scores of each position as a key; result
//! `[B, N, H, d]`. Window `i` holds the positions `[i w − o, (i + 1) w − o)` that exist, `o = w − shift`
//! for a shift above 0 and 0 otherwise. Positions from `lengths[b]` on are neither read nor attended; their
//! results are 0. Every window is computed alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
