//! CPU kernel of [`window_center`](super).

use super::EPSILON;
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::{dot, vectorized};
use crate::windows::Windows;
use macro_rules_attribute::apply;

/// Positions handed to a task at once.
const SPAN: usize = 128;

/// Fills the rows of one window; `mean` has room for one.
#[apply(vectorized!)]
fn center<T: Scalar>(rows: &[T], mean: &mut [T::Acc], out: &mut [T::Acc]) {
    let channels = mean.len();
    let share = T::Acc::ONE / T::Acc::from_f64(channels as f64);
    mean.fill(T::Acc::ZERO);
    for (row, out) in rows.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
        let square = dot(row, row).mul_add(share, T::Acc::from_f64(EPSILON));
        let inverse = T::Acc::ONE / square.sqrt();
        for (value, (out, mean)) in row.iter().zip(out.iter_mut().zip(mean.iter_mut())) {
            *out = value.load() * inverse;
            *mean += *out;
        }
    }
    let share = T::Acc::ONE / T::Acc::from_f64((rows.len() / channels) as f64);
    for mean in mean.iter_mut() {
        *mean = *mean * share;
    }
    for out in out.chunks_exact_mut(channels) {
        for (out, mean) in out.iter_mut().zip(mean.iter()) {
            *out = *out - *mean;
        }
    }
}

/// Writes `out [B, N, D]`; `lengths` must lie in `[0, N]`, `windows` are those of `N` positions.
pub fn forward<T: Scalar>(
    x: &[T],
    lengths: &[i64],
    windows: Windows,
    channels: usize,
    threads: usize,
    out: &mut [T::Acc],
) {
    if channels == 0 {
        return;
    }
    let out = Disjoint::new(out);
    let span = SPAN.div_ceil(windows.window);
    parallel::for_each_span(threads, lengths.len(), windows.count(), span, |sequence, indices| {
        let mut mean = vec![T::Acc::ZERO; channels];
        let real = windows.over(lengths[sequence] as usize);
        for index in indices {
            let start = sequence * windows.length;
            let all = (start + windows.range(index).start) * channels
                ..(start + windows.range(index).end) * channels;
            let end = all.start + real.range(index).len() * channels;
            // SAFETY: windows are disjoint.
            let out = unsafe { out.part(all.clone()) };
            let (out, padding) = out.split_at_mut(end - all.start);
            padding.fill(T::Acc::ZERO);
            center(&x[all.start..end], &mut mean, out);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_part_vanishes() {
        // Of equal length: (1, 1) and (1, −1), whose mean is (1, 0); then one alone, and padding.
        let x = [2.0_f64, 2.0, 3.0, -3.0, 5.0, 5.0, f64::NAN, f64::NAN];
        let mut out = [9.0; 8];
        forward(&x, &[3], Windows { window: 2, shift: 0, length: 4 }, 2, 1, &mut out);
        for (got, want) in out.iter().zip([0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{out:?}");
        }
    }
}
