//! The gate of SwiGLU: `out = silu(gate) ⊙ up` of rows that hold `gate` and `up` side by side.
//!
//! `gate_up [R, 2 F]` float; result `[R, F]`. `silu(a) = a σ(a)`, in the accumulator type. Element-wise:
//! bit-equal for any number of threads.

#[cfg(feature = "python")]
pub mod binding;
pub mod cpu;
