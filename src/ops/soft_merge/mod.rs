//! Merging by shares: each position gives parts of its mass to its neighbours, and the tokens' means follow.
//!
//! `x [B, N, D]` float; `mass [B, N]`, what each position stands for, and `assignment [B, N, 2]`, the shares
//! that it gives to the positions on its left and right, in the accumulator type; `token_index [B, N]`, which
//! the hard decision of [`neighbor_match`](super::neighbor_match) made in these windows. A token `t` has one
//! position `j` that stays: its keeper, or the one it has. With `w_{jj} = m_j (1 − a_{j,left} − a_{j,right})`
//! and `w_{ij} = a_{ij} m_i` of the neighbours `i`, `M_t = Σ_i w_{ij}` and `y_t = Σ_i w_{ij} x_i / M_t`, results
//! `[B, L, D]` and `[B, L]`; a token of none is 0. Where `token_index` is −1 nothing is read and gradients are
//! 0.
//!
//! Gradients: `∂L/∂w_{ij} = ⟨∂L/∂y_t, x_i − y_t⟩ / M_t + ∂L/∂M_t`. Every result depends on a position and its
//! neighbours alone: bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
