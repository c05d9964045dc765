//! CPU kernel of [`swiglu`](super).

use crate::float::{Accumulator, Scalar, sigmoid};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;

/// Elements handed to a task at once.
const SPAN: usize = 1 << 14;

#[apply(vectorized!)]
fn forward_row<T: Scalar>(gate: &[T], up: &[T], out: &mut [T]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let gate = gate.load();
        *out = T::store(gate * sigmoid(gate) * up.load());
    }
}

#[apply(vectorized!)]
fn backward_row<T: Scalar>(gate: &[T], up: &[T], grad: &[T], grad_gate: &mut [T], grad_up: &mut [T]) {
    let inputs = gate.iter().zip(up).zip(grad);
    for (((gate, up), grad), (grad_gate, grad_up)) in inputs.zip(grad_gate.iter_mut().zip(grad_up)) {
        let (gate, grad) = (gate.load(), grad.load());
        let open = sigmoid(gate);
        let silu = gate * open;
        *grad_up = T::store(grad * silu);
        // silu' = σ (1 + a (1 − σ)) = σ + silu (1 − σ)
        *grad_gate = T::store(grad * up.load() * (open + silu * (T::Acc::ONE - open)));
    }
}

/// Writes `out [R, F]` from `gate_up [R, 2 F]`.
pub fn forward<T: Scalar>(gate_up: &[T], width: usize, threads: usize, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / width;
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, 1, rows, SPAN.div_ceil(width), |_, range| {
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(range.start * width..range.end * width) };
        let gate_up = &gate_up[range.start * 2 * width..range.end * 2 * width];
        for (out, row) in out.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
            forward_row(&row[..width], &row[width..], out);
        }
    });
}

/// Writes `grad_gate_up [R, 2 F]` from `grad [R, F]` and the forward's input.
pub fn backward<T: Scalar>(grad: &[T], gate_up: &[T], width: usize, threads: usize, grad_gate_up: &mut [T]) {
    if grad.is_empty() {
        return;
    }
    let rows = grad.len() / width;
    let grad_gate_up = Disjoint::new(grad_gate_up);
    parallel::for_each_span(threads, 1, rows, SPAN.div_ceil(width), |_, range| {
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { grad_gate_up.part(range.start * 2 * width..range.end * 2 * width) };
        let gate_up = &gate_up[range.start * 2 * width..range.end * 2 * width];
        let grad = &grad[range.start * width..range.end * width];
        let rows = gate_up.chunks_exact(2 * width).zip(grad.chunks_exact(width));
        for (out, (row, grad)) in out.chunks_exact_mut(2 * width).zip(rows) {
            let (grad_gate, grad_up) = out.split_at_mut(width);
            backward_row(&row[..width], &row[width..], grad, grad_gate, grad_up);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_gate_passes_and_a_closed_one_does_not() {
        let mut out = [9.0_f64; 3];
        forward(&[0.0, 50.0, -800.0, 3.0, 2.0, 5.0], 3, 1, &mut out);
        assert_eq!(out, [0.0, 100.0, 0.0]);
        let mut grad = [9.0_f64; 2];
        backward(&[2.0], &[0.0, 3.0], 1, 1, &mut grad);
        assert_eq!(grad, [3.0, 0.0]);
    }
}
