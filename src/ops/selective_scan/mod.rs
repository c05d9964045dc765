//! Selective scan of Mamba (Gu & Dao 2023, Algorithm 2): `Δ_t = softplus(delta_t + delta_bias)`,
//! `h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t`, `y_t = ⟨C_t, h_t⟩ + skip x_t`, and the result `y_t silu(gate_t)`.
//!
//! `x`, `delta`, `gate` `[B, N, D]` and `B`, `C` `[B, N, S]` float, rows contiguous; `A [D, S]`, at most 0, and
//! `skip`, `delta_bias` `[D]` in the accumulator type; lengths `[B]` in `[0, N]`. States run in the
//! accumulator type, from the first real position to the last or, in reverse, from the last to the first.
//! Padding is not read; results and gradients are 0 there. `states [B, ⌈N / BLOCK⌉, S, D]` are those before
//! every `BLOCK` steps: the backward pass computes the others anew.
//!
//! Gradients of `B` and `C` sum over tiles of channels, those of `A`, `skip` and `delta_bias` over blocks of
//! steps and then over sequences, all in a fixed order: the same bits for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Steps between the states that the forward pass stores.
pub const BLOCK: usize = 64;
