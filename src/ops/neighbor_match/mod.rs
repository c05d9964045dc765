//! Which neighbours merge: bipartite matching inside windows under an exact budget. A decision, no gradient.
//!
//! `scores [B, N]` float32 or float64, `scores[b, i]` that of positions `i` and `i + 1`; `lengths [B]` real
//! positions; `num_merges [B]`. In each window the 1st, 3rd, … position is a candidate, the 2nd, 4th, … a
//! keeper. A candidate proposes to its better-scoring neighbouring keeper (ties: the left one). Scores are
//! rounded to multiples of 2⁻¹² (half to even; NaN counts as −2) before any comparison. With a budget per
//! window, each window's best `⌊num_merges / windows⌋` proposals are accepted, then the best of the rest of
//! the sequence until there are `num_merges`; with a budget per sequence, the best of the whole sequence.
//! Ties go to the lower position.
//!
//! `token_index [B, N]`: the token after merging that each position belongs to, −1 past the length.
//! `threshold [B, N]`: midway between the last accepted and the first rejected score of the position's
//! window (or sequence); where one side is missing, the other; 0 where nothing proposes.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
