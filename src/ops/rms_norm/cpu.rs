//! CPU kernel of [`rms_norm`](super).

use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;

/// Rows handed to a task at once, and summed into one partial gradient of the weight.
const BLOCK: usize = 64;
const LANES: usize = 16;

#[inline(always)]
fn sum_of<A: Accumulator>(count: usize, term: impl Fn(usize) -> A) -> A {
    let mut lanes = [A::ZERO; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    lanes.iter().copied().sum::<A>() + (whole..count).map(term).sum::<A>()
}

#[apply(vectorized!)]
fn forward_block<T: Scalar, U: Scalar<Acc = T::Acc>>(
    x: &[T],
    weight: &[T::Acc],
    epsilon: f64,
    out: &mut [U],
    inverse: &mut [T::Acc],
) {
    let width = weight.len();
    let count = T::Acc::from_f64(width as f64);
    for ((row, out), inverse) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(inverse) {
        let squares = sum_of(width, |i| row[i].load() * row[i].load());
        let scale = T::Acc::ONE / (squares / count + T::Acc::from_f64(epsilon)).sqrt();
        *inverse = scale;
        for ((out, x), weight) in out.iter_mut().zip(row).zip(weight) {
            *out = U::store(x.load() * scale * *weight);
        }
    }
}

#[apply(vectorized!)]
fn backward_block<T: Scalar, U: Scalar<Acc = T::Acc>>(
    x: &[T],
    weight: &[T::Acc],
    inverse: &[T::Acc],
    grad: &[U],
    grad_x: &mut [T],
    grad_weight: &mut [T::Acc],
) {
    let width = weight.len();
    let count = T::Acc::from_f64(width as f64);
    grad_weight.fill(T::Acc::ZERO);
    let rows = x.chunks_exact(width).zip(grad.chunks_exact(width));
    for (((row, grad), out), &scale) in rows.zip(grad_x.chunks_exact_mut(width)).zip(inverse) {
        let projection = sum_of(width, |i| grad[i].load() * weight[i] * row[i].load());
        let back = projection * scale * scale * scale / count;
        for i in 0..width {
            let (x, grad) = (row[i].load(), grad[i].load());
            grad_weight[i] += grad * x * scale;
            out[i] = T::store(grad * weight[i] * scale - x * back);
        }
    }
}

/// Writes `out [R, D]` and the reciprocal root mean square `inverse [R]`.
pub fn forward<T: Scalar, U: Scalar<Acc = T::Acc>>(
    x: &[T],
    weight: &[T::Acc],
    epsilon: f64,
    threads: usize,
    out: &mut [U],
    inverse: &mut [T::Acc],
) {
    let width = weight.len();
    if width == 0 {
        inverse.fill(T::Acc::ZERO);
        return;
    }
    let rows = inverse.len();
    let (out, inverse) = (Disjoint::new(out), Disjoint::new(inverse));
    parallel::for_each(threads, rows.div_ceil(BLOCK), |block| {
        let rows = block * BLOCK..((block + 1) * BLOCK).min(rows);
        let elements = rows.start * width..rows.end * width;
        // SAFETY: blocks are disjoint.
        let (out, inverse) = unsafe { (out.part(elements.clone()), inverse.part(rows)) };
        forward_block(&x[elements], weight, epsilon, out, inverse);
    });
}

/// Writes `grad_x [R, D]` and `grad_weight [D]`.
pub fn backward<T: Scalar, U: Scalar<Acc = T::Acc>>(
    grad: &[U],
    inverse: &[T::Acc],
    x: &[T],
    weight: &[T::Acc],
    threads: usize,
    grad_x: &mut [T],
    grad_weight: &mut [T::Acc],
) {
    let (rows, width) = (inverse.len(), weight.len());
    grad_weight.fill(T::Acc::ZERO);
    if width == 0 {
        return;
    }
    let blocks = rows.div_ceil(BLOCK);
    let mut partials = vec![T::Acc::ZERO; blocks * width];
    {
        let (grad_x, partials) = (Disjoint::new(grad_x), Disjoint::new(&mut partials));
        parallel::for_each(threads, blocks, |block| {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(rows);
            let elements = rows.start * width..rows.end * width;
            // SAFETY: blocks are disjoint.
            let (grad_x, partial) =
                unsafe { (grad_x.part(elements.clone()), partials.part(block * width..(block + 1) * width)) };
            backward_block(&x[elements.clone()], weight, &inverse[rows], &grad[elements], grad_x, partial);
        });
    }
    for partial in partials.chunks_exact(width) {
        for (sum, term) in grad_weight.iter_mut().zip(partial) {
            *sum += *term;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_out_with_unit_mean_square() {
        let (mut out, mut inverse) = ([9.0_f32; 2], [9.0_f32; 1]);
        forward(&[1.0_f32, 7.0], &[1.0, 2.0], 0.0, 1, &mut out, &mut inverse);
        assert_eq!((out, inverse), ([0.2, 2.8], [0.2]));
        let (mut grad_x, mut grad_weight) = ([9.0_f32; 2], [9.0_f32; 2]);
        backward(&[5.0_f32, 0.0], &inverse, &[1.0_f32, 7.0], &[1.0, 2.0], 1, &mut grad_x, &mut grad_weight);
        assert_eq!(grad_weight, [1.0, 0.0]);
        assert!((grad_x[0] - 0.98).abs() < 1e-6 && (grad_x[1] + 0.14).abs() < 1e-6);
    }
}
