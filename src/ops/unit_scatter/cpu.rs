//! CPU kernels of [`unit_scatter`](super).

use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::{dot, vectorized};
use macro_rules_attribute::apply;

/// Rows handed to a task at once.
const SPAN: usize = 256;

/// Marks a row that no unit is added to.
const NONE: u32 = u32::MAX;

/// Where each of `rows` rows occurs in `position`, or the first position that occurs twice.
pub fn invert(position: &[i64], rows: usize) -> Result<Vec<u32>, i64> {
    let mut unit_of = vec![NONE; rows];
    for (unit, &row) in position.iter().enumerate() {
        let entry = &mut unit_of[row as usize];
        if *entry != NONE {
            return Err(row);
        }
        *entry = unit as u32;
    }
    Ok(unit_of)
}

#[apply(vectorized!)]
fn scatter_span<T: Scalar>(
    residual: &[T],
    values: &[T],
    weight: &[T::Acc],
    unit_of: &[u32],
    channels: usize,
    out: &mut [T],
) {
    let rows = out.chunks_exact_mut(channels).zip(residual.chunks_exact(channels));
    for ((out, residual), &unit) in rows.zip(unit_of) {
        if unit == NONE {
            out.copy_from_slice(residual);
        } else {
            let unit = unit as usize;
            let values = &values[unit * channels..(unit + 1) * channels];
            for ((out, residual), value) in out.iter_mut().zip(residual).zip(values) {
                *out = T::store(value.load().mul_add(weight[unit], residual.load()));
            }
        }
    }
}

#[apply(vectorized!)]
fn gradients_of_span<T: Scalar>(
    grad: &[T],
    values: &[T],
    weight: &[T::Acc],
    position: &[i64],
    channels: usize,
    grad_values: &mut [T],
    grad_weight: &mut [T::Acc],
) {
    for (unit, &row) in position.iter().enumerate() {
        let grad = &grad[row as usize * channels..(row as usize + 1) * channels];
        let of_unit = unit * channels..(unit + 1) * channels;
        grad_weight[unit] = dot(grad, &values[of_unit.clone()]);
        for (out, grad) in grad_values[of_unit].iter_mut().zip(grad) {
            *out = T::store(grad.load() * weight[unit]);
        }
    }
}

/// Writes `out [R, D]`: `residual [R, D]` plus the weighted `values [M, D]` where `unit_of [R]` says.
pub fn forward<T: Scalar>(
    residual: &[T],
    values: &[T],
    weight: &[T::Acc],
    unit_of: &[u32],
    channels: usize,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 {
        return;
    }
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, 1, unit_of.len(), SPAN, |_, rows| {
        let of_rows = rows.start * channels..rows.end * channels;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(of_rows.clone()) };
        scatter_span(&residual[of_rows], values, weight, &unit_of[rows], channels, out);
    });
}

/// Writes the gradients of `values [M, D]` and `weight [M]` from that of the result.
pub fn backward<T: Scalar>(
    grad: &[T],
    values: &[T],
    weight: &[T::Acc],
    position: &[i64],
    channels: usize,
    threads: usize,
    grad_values: &mut [T],
    grad_weight: &mut [T::Acc],
) {
    let (grad_values, grad_weight) = (Disjoint::new(grad_values), Disjoint::new(grad_weight));
    parallel::for_each_span(threads, 1, position.len(), SPAN, |_, units| {
        let of_units = units.start * channels..units.end * channels;
        // SAFETY: the spans of one call are disjoint.
        let (grad_values, grad_weight) =
            unsafe { (grad_values.part(of_units.clone()), grad_weight.part(units.clone())) };
        let (values, weight, position) = (&values[of_units], &weight[units.clone()], &position[units]);
        gradients_of_span(grad, values, weight, position, channels, grad_values, grad_weight);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_added_at_their_rows() {
        let (residual, values, weight) =
            ([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0, 40.0], [0.5, 2.0]);
        let unit_of = invert(&[2, 0], 3).unwrap();
        let mut out = [9.0; 6];
        forward(&residual, &values, &weight, &unit_of, 2, 1, &mut out);
        assert_eq!(out, [61.0, 82.0, 3.0, 4.0, 10.0, 16.0]);
    }

    #[test]
    fn gradients_of_values_and_weights() {
        let (grad, values, weight) =
            ([1.0_f64, 2.0, 9.0, 9.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0], [0.5, 2.0]);
        let (mut grad_values, mut grad_weight) = ([9.0; 4], [9.0; 2]);
        backward(&grad, &values, &weight, &[2, 0], 2, 1, &mut grad_values, &mut grad_weight);
        assert_eq!(grad_values, [1.5, 2.0, 2.0, 4.0]);
        assert_eq!(grad_weight, [110.0, 110.0]);
    }

    #[test]
    fn a_position_twice_is_found() {
        assert_eq!(invert(&[1, 0, 1], 2), Err(1));
    }
}
