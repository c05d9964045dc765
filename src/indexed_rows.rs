//! Rows of sequences taken by their index, and the adjoint, which sums the rows of each index.
//!
//! `index [B, N]` names a row of `[B, L, D]` for each of `[B, N, D]`, or is −1 for none. Sums run in the
//! accumulator type in ascending order of `N` and never cross threads: bit-equal for any number of them.

use crate::error::{Error, Result};
use crate::float::{Accumulator, Scalar};
use crate::groups::Groups;
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Rows handed to a task at once.
const SPAN: usize = 256;

/// Fails unless every entry of `position` lies in `[0, num_rows)`.
pub fn check_position(op: &'static str, position: &[i64], num_rows: usize) -> Result<()> {
    match position.iter().find(|&&row| row < 0 || row >= num_rows as i64) {
        None => Ok(()),
        Some(row) => Err(Error::value(op, "position", format!("in [0, {num_rows})"), row.to_string())),
    }
}

/// Writes `out [B, N, D]` from `x [B, L, D]`: 0 where `index` is −1.
pub fn take<T: Scalar>(
    x: &[T],
    index: &[i64],
    length: usize,
    num_rows: usize,
    channels: usize,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 || length == 0 {
        return;
    }
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, index.len() / length, length, SPAN, |sequence, positions| {
        let (first, last) = (sequence * length + positions.start, sequence * length + positions.end);
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(first * channels..last * channels) };
        for (row, &taken) in out.chunks_exact_mut(channels).zip(&index[first..last]) {
            if let Ok(taken) = usize::try_from(taken) {
                let start = (sequence * num_rows + taken) * channels;
                row.copy_from_slice(&x[start..start + channels]);
            } else {
                row.fill(T::store(T::Acc::ZERO));
            }
        }
    });
}

#[apply(vectorized!)]
fn sum_span<T: Scalar>(x: &[T], groups: &Groups, rows: Range<usize>, channels: usize, out: &mut [T]) {
    let mut sum = vec![T::Acc::ZERO; channels];
    for (out, row) in out.chunks_exact_mut(channels).zip(rows) {
        sum.fill(T::Acc::ZERO);
        for &member in groups.of(row) {
            let member = member as usize * channels;
            for (sum, value) in sum.iter_mut().zip(&x[member..member + channels]) {
                *sum += value.load();
            }
        }
        for (out, sum) in out.iter_mut().zip(&sum) {
            *out = T::store(*sum);
        }
    }
}

/// Writes `out [B, L, D]` from `x [B, N, D]`: the sum over each row's places in `index`, 0 for a row of none.
pub fn sum<T: Scalar>(
    x: &[T],
    index: &[i64],
    length: usize,
    num_rows: usize,
    channels: usize,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 || length == 0 || num_rows == 0 {
        out.fill(T::store(T::Acc::ZERO));
        return;
    }
    let groups: Vec<Groups> = index.chunks_exact(length).map(|index| Groups::new(index, num_rows)).collect();
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, groups.len(), num_rows, SPAN, |sequence, rows| {
        let first = (sequence * num_rows + rows.start) * channels;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(first..first + rows.len() * channels) };
        let x = &x[sequence * length * channels..(sequence + 1) * length * channels];
        sum_span(x, &groups[sequence], rows, channels, out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjoint_pair() {
        let index = [1, 0, 1, -1];
        let mut out = [9.0_f32; 8];
        take(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &index, 4, 3, 2, 1, &mut out);
        assert_eq!(out, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        let mut back = [9.0_f32; 6];
        sum(&out, &index, 4, 3, 2, 1, &mut back);
        assert_eq!(back, [1.0, 2.0, 6.0, 8.0, 0.0, 0.0]);
    }
}
