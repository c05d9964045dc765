//! Depthwise causal convolution: `out_t = act(bias + Σ_w weight_w x_{t − (W − 1) + w})` in every channel.
//!
//! `x [B, N, D]` float, rows contiguous; `weight [D, W]`, `W` in 2..=4, and `bias [D]` in the accumulator
//! type; lengths `[B]` in `[0, N]`; the activation none or silu. In reverse `t + (W − 1) − w` takes the place
//! of `t − (W − 1) + w`. Positions outside a sequence count as 0; padding is not read, and results and
//! gradients are 0 there. Sums over positions run over spans of a fixed size and then over spans, in the
//! direction of the convolution: the same bits for any number of threads, and for reverse as for flipping.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;

/// Widths that there are kernels for.
pub const WIDTHS: std::ops::RangeInclusive<usize> = 2..=4;
