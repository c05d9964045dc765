//! CPU kernel of [`neighbor_cosine`](super).

use super::EPSILON;
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::{dot, vectorized};
use macro_rules_attribute::apply;

/// Positions handed to a task at once.
const SPAN: usize = 512;

#[apply(vectorized!)]
fn norms_of<T: Scalar>(rows: &[T], channels: usize, norms: &mut [T::Acc]) {
    let epsilon = T::Acc::from_f64(EPSILON);
    for (row, norm) in rows.chunks_exact(channels).zip(norms) {
        *norm = dot(row, row).sqrt().max(epsilon);
    }
}

#[apply(vectorized!)]
fn cosines_of<T: Scalar>(
    sequence: &[T],
    channels: usize,
    positions: std::ops::Range<usize>,
    norms: &[T::Acc],
    cosines: &mut [T::Acc],
) {
    for (i, cosine) in positions.zip(cosines) {
        *cosine = if i + 1 == norms.len() {
            T::Acc::ZERO
        } else {
            let row = |j: usize| &sequence[j * channels..(j + 1) * channels];
            dot(row(i), row(i + 1)) / (norms[i] * norms[i + 1])
        };
    }
}

#[apply(vectorized!)]
fn gradients_of<T: Scalar>(
    sequence: &[T],
    channels: usize,
    positions: std::ops::Range<usize>,
    norms: &[T::Acc],
    cosines: &[T::Acc],
    grad_cosines: &[T::Acc],
    grad: &mut [T],
) {
    let epsilon = T::Acc::from_f64(EPSILON);
    let row = |j: usize| &sequence[j * channels..(j + 1) * channels];
    let last = norms.len() - 1;
    for (i, grad_row) in positions.zip(grad.chunks_exact_mut(channels)) {
        // d c_{ij} / d g_i = (g_j / ‖g_j‖ − c_ij g_i / ‖g_i‖) / ‖g_i‖; the second term is 0 at the clamp.
        let inverse = T::Acc::ONE / norms[i];
        let (mut to_left, mut to_right, mut to_self) = (T::Acc::ZERO, T::Acc::ZERO, T::Acc::ZERO);
        if i > 0 {
            to_left = grad_cosines[i - 1] * inverse / norms[i - 1];
            to_self += grad_cosines[i - 1] * cosines[i - 1];
        }
        if i < last {
            to_right = grad_cosines[i] * inverse / norms[i + 1];
            to_self += grad_cosines[i] * cosines[i];
        }
        to_self = if norms[i] > epsilon { -to_self * inverse * inverse } else { T::Acc::ZERO };
        let left = row(i.saturating_sub(1));
        let right = row((i + 1).min(last));
        let this = row(i);
        for (channel, grad) in grad_row.iter_mut().enumerate() {
            let sum = left[channel].load().mul_add(to_left, to_self * this[channel].load());
            *grad = T::store(right[channel].load().mul_add(to_right, sum));
        }
    }
}

/// Writes `cosines [B, N]` and the clamped `norms [B, N]` of `g [B, N, G]`.
pub fn forward<T: Scalar>(
    g: &[T],
    length: usize,
    channels: usize,
    threads: usize,
    norms: &mut [T::Acc],
    cosines: &mut [T::Acc],
) {
    if channels == 0 {
        norms.fill(T::Acc::from_f64(EPSILON));
        cosines.fill(T::Acc::ZERO);
        return;
    }
    {
        let rows = norms.len();
        let norms = Disjoint::new(norms);
        parallel::for_each_span(threads, 1, rows, SPAN, |_, range| {
            // SAFETY: the spans of one call are disjoint.
            let norms = unsafe { norms.part(range.clone()) };
            norms_of(&g[range.start * channels..range.end * channels], channels, norms);
        });
    }
    if length == 0 {
        return;
    }
    let cosines = Disjoint::new(cosines);
    parallel::for_each_span(threads, norms.len() / length, length, SPAN, |sequence, span| {
        // SAFETY: spans of one call are disjoint.
        let cosines = unsafe { cosines.part(sequence * length + span.start..sequence * length + span.end) };
        let norms = &norms[sequence * length..(sequence + 1) * length];
        let g = &g[sequence * length * channels..(sequence + 1) * length * channels];
        cosines_of(g, channels, span, norms, cosines);
    });
}

/// Writes `grad [B, N, G]` from the gradient of the forward's `cosines`, those and its `norms`.
pub fn backward<T: Scalar>(
    grad_cosines: &[T::Acc],
    cosines: &[T::Acc],
    norms: &[T::Acc],
    g: &[T],
    length: usize,
    channels: usize,
    threads: usize,
    grad: &mut [T],
) {
    if channels == 0 || length == 0 {
        return;
    }
    let grad = Disjoint::new(grad);
    parallel::for_each_span(threads, norms.len() / length, length, SPAN, |sequence, span| {
        let rows = sequence * length..(sequence + 1) * length;
        let (first, last) = (rows.start + span.start, rows.start + span.end);
        // SAFETY: spans of one call are disjoint.
        let grad = unsafe { grad.part(first * channels..last * channels) };
        gradients_of(
            &g[rows.start * channels..rows.end * channels],
            channels,
            span,
            &norms[rows.clone()],
            &cosines[rows.clone()],
            &grad_cosines[rows],
            grad,
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_angles_and_equal_directions() {
        let g = [1.0_f32, 0.0, 0.0, 2.0, 0.0, 3.0, -1.0, 0.0];
        let (mut norms, mut cosines) = ([0.0; 4], [9.0; 4]);
        forward(&g, 4, 2, 1, &mut norms, &mut cosines);
        assert_eq!(norms, [1.0, 2.0, 3.0, 1.0]);
        assert_eq!(cosines, [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn gradient_of_a_right_angle_is_the_other_direction() {
        let g = [2.0_f64, 0.0, 0.0, 4.0];
        let (mut norms, mut cosines, mut grad) = ([0.0; 2], [0.0; 2], [0.0; 4]);
        forward(&g, 2, 2, 1, &mut norms, &mut cosines);
        backward(&[1.0, 5.0], &cosines, &norms, &g, 2, 2, 1, &mut grad);
        assert_eq!(grad, [0.0, 0.5, 0.25, 0.0]);
    }
}
