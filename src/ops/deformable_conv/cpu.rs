//! CPU kernel of [`deformable_conv`](super): its sampling.

use crate::float::{Accumulator, Scalar};
use crate::groups::Groups;
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Rows handed to a task at once.
const SPAN: usize = 64;
const LANES: usize = 16;

/// What a call reads.
#[derive(Clone, Copy)]
pub struct Arguments<'a, T: Scalar> {
    /// `[B, K, D]`.
    pub x: &'a [T],
    /// `[B, K, f]`.
    pub offset: &'a [T::Acc],
    /// `[B, K, f]`.
    pub modulation: &'a [T::Acc],
    /// `[B]` real rows, at most `K`.
    pub lengths: &'a [usize],
    /// `K`.
    pub rows: usize,
    /// `f`.
    pub taps: usize,
    /// `D`.
    pub channels: usize,
}

/// One sequence of a call.
struct Sequence<'a, T: Scalar> {
    x: &'a [T],
    offset: &'a [T::Acc],
    modulation: &'a [T::Acc],
    real: usize,
    taps: usize,
    zeros: &'a [T],
}

impl<'a, T: Scalar> Sequence<'a, T> {
    fn new(arguments: &Arguments<'a, T>, index: usize, zeros: &'a [T]) -> Self {
        let of = |width: usize| index * arguments.rows * width..(index + 1) * arguments.rows * width;
        Self {
            x: &arguments.x[of(arguments.channels)],
            offset: &arguments.offset[of(arguments.taps)],
            modulation: &arguments.modulation[of(arguments.taps)],
            real: arguments.lengths[index],
            taps: arguments.taps,
            zeros,
        }
    }

    /// Between which rows sample `i f + m` lies: `gap` is between rows `gap − 1` and `gap`, from 0 to `real`.
    #[inline(always)]
    fn gap(&self, sample: usize) -> Option<usize> {
        /// Beyond it no row can lie, and below it whole numbers are exact.
        const FAR: f64 = (1_u64 << 52) as f64;
        let (row, tap) = (sample / self.taps, sample % self.taps);
        let whole = self.offset[sample].to_f64().floor();
        if row >= self.real || whole.is_nan() || whole.abs() >= FAR {
            return None;
        }
        let gap = (row + tap) as i64 - (self.taps / 2) as i64 + whole as i64 + 1;
        (0..=self.real as i64).contains(&gap).then_some(gap as usize)
    }

    /// How far a sample lies from the lower row of its gap to the upper.
    #[inline(always)]
    fn fraction(&self, sample: usize) -> T::Acc {
        let offset = self.offset[sample].to_f64();
        T::Acc::from_f64(offset - offset.floor())
    }

    /// The rows on both sides of a gap.
    #[inline(always)]
    fn sides(&self, gap: usize) -> (&'a [T], &'a [T]) {
        let channels = self.zeros.len();
        let row = |i: usize| &self.x[i * channels..(i + 1) * channels];
        let lower = if gap == 0 { self.zeros } else { row(gap - 1) };
        (lower, if gap == self.real { self.zeros } else { row(gap) })
    }
}

#[apply(vectorized!)]
fn sample_span<T: Scalar>(sequence: &Sequence<'_, T>, samples: Range<usize>, columns: &mut [T]) {
    for (sample, out) in samples.zip(columns.chunks_exact_mut(sequence.zeros.len())) {
        let Some(gap) = sequence.gap(sample) else {
            out.copy_from_slice(sequence.zeros);
            continue;
        };
        let (lower, upper) = sequence.sides(gap);
        let (fraction, modulation) = (sequence.fraction(sample), sequence.modulation[sample]);
        let (to_lower, to_upper) = (modulation * (T::Acc::ONE - fraction), modulation * fraction);
        for ((out, lower), upper) in out.iter_mut().zip(lower).zip(upper) {
            *out = T::store(lower.load().mul_add(to_lower, upper.load() * to_upper));
        }
    }
}

/// Adds `grad` times a weight to the gradients of both rows, and returns `⟨grad, lower⟩` and
/// `⟨grad, upper − lower⟩`.
#[inline(always)]
fn scatter<T: Scalar>(
    grad: &[T],
    (lower, upper): (&[T], &[T]),
    (to_lower, to_upper): (T::Acc, T::Acc),
    (grad_lower, grad_upper): (&mut [T::Acc], &mut [T::Acc]),
) -> (T::Acc, T::Acc) {
    let (mut at_lower, mut along) = ([T::Acc::ZERO; LANES], [T::Acc::ZERO; LANES]);
    let mut step = |lane: usize, grad: T, lower: T, upper: T, sums: (&mut T::Acc, &mut T::Acc)| {
        let (grad, lower) = (grad.load(), lower.load());
        at_lower[lane] = grad.mul_add(lower, at_lower[lane]);
        along[lane] = grad.mul_add(upper.load() - lower, along[lane]);
        *sums.0 = grad.mul_add(to_lower, *sums.0);
        *sums.1 = grad.mul_add(to_upper, *sums.1);
    };
    let (grads, rest) = grad.as_chunks::<LANES>();
    let whole = grads.len() * LANES;
    let (lowers, uppers) = (lower.as_chunks::<LANES>().0, upper.as_chunks::<LANES>().0);
    let sums = grad_lower.as_chunks_mut::<LANES>().0.iter_mut().zip(grad_upper.as_chunks_mut::<LANES>().0);
    for (((grad, lower), upper), sums) in grads.iter().zip(lowers).zip(uppers).zip(sums) {
        for lane in 0..LANES {
            step(lane, grad[lane], lower[lane], upper[lane], (&mut sums.0[lane], &mut sums.1[lane]));
        }
    }
    let sums = grad_lower[whole..].iter_mut().zip(&mut grad_upper[whole..]);
    for (lane, (((grad, lower), upper), sums)) in
        rest.iter().zip(&lower[whole..]).zip(&upper[whole..]).zip(sums).enumerate()
    {
        step(lane, *grad, *lower, *upper, sums);
    }
    (at_lower.iter().copied().sum(), along.iter().copied().sum())
}

/// Writes the gradients of `rows` into `grad_x`, and hands those of the offset and the modulation of every
/// sample to `give`.
#[apply(vectorized!)]
fn gather_span<T: Scalar, G: Fn(usize, T::Acc, T::Acc)>(
    sequence: &Sequence<'_, T>,
    samples_of: &Groups,
    rows: Range<usize>,
    grad_columns: &[T],
    grad_x: &mut [T],
    give: G,
) {
    let channels = sequence.zeros.len();
    let end = rows.end.min(sequence.real);
    let (mut grad_lower, mut grad_upper) = (vec![T::Acc::ZERO; channels], vec![T::Acc::ZERO; channels]);
    if rows.start < end {
        // The gap above the last row of the task before ours is its own; here it only adds to the first row.
        for gap in rows.start..=end {
            let is_ours = gap > rows.start || gap == 0;
            for &sample in samples_of.of(gap) {
                let sample = sample as usize;
                let (fraction, modulation) = (sequence.fraction(sample), sequence.modulation[sample]);
                let (at_lower, along) = scatter(
                    &grad_columns[sample * channels..(sample + 1) * channels],
                    sequence.sides(gap),
                    (modulation * (T::Acc::ONE - fraction), modulation * fraction),
                    (&mut grad_lower, &mut grad_upper),
                );
                if is_ours {
                    give(sample, modulation * along, along.mul_add(fraction, at_lower));
                }
            }
            if gap > rows.start {
                let row = gap - 1 - rows.start;
                for (out, sum) in grad_x[row * channels..(row + 1) * channels].iter_mut().zip(&grad_lower) {
                    *out = T::store(*sum);
                }
            }
            std::mem::swap(&mut grad_lower, &mut grad_upper);
            grad_upper.fill(T::Acc::ZERO);
        }
    }
    grad_x[(end.max(rows.start) - rows.start) * channels..].fill(T::store(T::Acc::ZERO));
}

/// Writes `columns [B, K, f, D]`.
pub fn forward<T: Scalar>(arguments: &Arguments<'_, T>, threads: usize, columns: &mut [T]) {
    if columns.is_empty() {
        return;
    }
    let &Arguments { lengths, rows, taps, channels, .. } = arguments;
    let zeros = vec![T::store(T::Acc::ZERO); channels];
    let columns = Disjoint::new(columns);
    parallel::for_each_span(threads, lengths.len(), rows, SPAN, |index, span| {
        let samples = span.start * taps..span.end * taps;
        let first = index * rows * taps;
        // SAFETY: spans of one call are disjoint.
        let columns =
            unsafe { columns.part((first + samples.start) * channels..(first + samples.end) * channels) };
        sample_span(&Sequence::new(arguments, index, &zeros), samples, columns);
    });
}

/// Writes `grad_x [B, K, D]`, `grad_offset` and `grad_modulation [B, K, f]` from `grad_columns [B, K, f, D]`.
pub fn backward<T: Scalar>(
    grad_columns: &[T],
    arguments: &Arguments<'_, T>,
    threads: usize,
    grad_x: &mut [T],
    grad_offset: &mut [T::Acc],
    grad_modulation: &mut [T::Acc],
) {
    grad_offset.fill(T::Acc::ZERO);
    grad_modulation.fill(T::Acc::ZERO);
    if grad_columns.is_empty() {
        grad_x.fill(T::store(T::Acc::ZERO));
        return;
    }
    let &Arguments { lengths, rows, taps, channels, .. } = arguments;
    let samples = rows * taps;
    let zeros = vec![T::store(T::Acc::ZERO); channels];
    let mut samples_of: Vec<Option<Groups>> = lengths.iter().map(|_| None).collect();
    {
        let samples_of = Disjoint::new(&mut samples_of);
        parallel::for_each(threads, lengths.len(), |index| {
            let sequence = Sequence::new(arguments, index, &zeros);
            let gaps: Vec<i64> =
                (0..samples).map(|sample| sequence.gap(sample).map_or(-1, |gap| gap as i64)).collect();
            // SAFETY: each task takes the element of its own index.
            unsafe { samples_of.part(index..index + 1)[0] = Some(Groups::new(&gaps, sequence.real + 1)) };
        });
    }
    let (grad_x, grad_offset, grad_modulation) =
        (Disjoint::new(grad_x), Disjoint::new(grad_offset), Disjoint::new(grad_modulation));
    parallel::for_each_span(threads, lengths.len(), rows, SPAN, |index, span| {
        let Some(groups) = &samples_of[index] else { return };
        let of_rows = (index * rows + span.start) * channels..(index * rows + span.end) * channels;
        let of_samples = index * samples..(index + 1) * samples;
        // SAFETY: spans of one call are disjoint.
        let grad_x = unsafe { grad_x.part(of_rows) };
        gather_span(
            &Sequence::new(arguments, index, &zeros),
            groups,
            span,
            &grad_columns[of_samples.start * channels..of_samples.end * channels],
            grad_x,
            |sample, to_offset, to_modulation| {
                let place = of_samples.start + sample..of_samples.start + sample + 1;
                // SAFETY: a sample lies in one gap, and a gap belongs to one task.
                unsafe {
                    grad_offset.part(place.clone())[0] = to_offset;
                    grad_modulation.part(place)[0] = to_modulation;
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 3] = [1.0, 4.0, 16.0];

    fn arguments<'a>(offset: &'a [f64], modulation: &'a [f64], lengths: &'a [usize]) -> Arguments<'a, f64> {
        let (rows, taps, channels) = (3, offset.len() / 3, 1);
        Arguments { x: &X, offset, modulation, lengths, rows, taps, channels }
    }

    #[test]
    fn between_rows_and_outside() {
        let mut columns = [9.0; 3];
        forward(&arguments(&[0.5, -2.0, 0.25], &[2.0, 1.0, 1.0], &[3]), 1, &mut columns);
        assert_eq!(columns, [5.0, 0.0, 12.0]);
        forward(&arguments(&[1.5, f64::NAN, 0.0], &[1.0; 3], &[2]), 1, &mut columns);
        assert_eq!(columns, [2.0, 0.0, 0.0]);
        let mut columns = [9.0; 9];
        forward(&arguments(&[0.0; 9], &[1.0; 9], &[3]), 1, &mut columns);
        assert_eq!(columns, [0.0, 1.0, 4.0, 1.0, 4.0, 16.0, 4.0, 16.0, 0.0]);
    }

    #[test]
    fn offsets_that_no_row_is_near_read_nothing() {
        for far in [1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 4.5e15, -9.3e18] {
            let (mut columns, mut grad_x) = ([9.0; 3], [9.0; 3]);
            let (mut grad_offset, mut grad_modulation) = ([9.0; 3], [9.0; 3]);
            let (offset, modulation) = ([far; 3], [1.0; 3]);
            let arguments = arguments(&offset, &modulation, &[3]);
            forward(&arguments, 1, &mut columns);
            backward(&[1.0; 3], &arguments, 1, &mut grad_x, &mut grad_offset, &mut grad_modulation);
            assert_eq!([columns, grad_x, grad_offset, grad_modulation], [[0.0; 3]; 4]);
        }
    }

    #[test]
    fn gradients_of_one_sample_each() {
        let (mut grad_x, mut grad_offset, mut grad_modulation) = ([9.0; 3], [9.0; 3], [9.0; 3]);
        // Row 0 reads between rows 0 and 1, row 1 between row −1 and 0, row 2 row 2 and the zero above.
        let (offset, modulation) = ([0.5, -1.75, 0.0], [2.0, 1.0, 1.0]);
        let arguments = arguments(&offset, &modulation, &[3]);
        let grads = [1.0, 10.0, 100.0];
        backward(&grads, &arguments, 1, &mut grad_x, &mut grad_offset, &mut grad_modulation);
        assert_eq!(grad_x, [1.0 + 2.5, 1.0, 100.0]);
        assert_eq!(grad_offset, [6.0, 10.0, -1600.0]);
        assert_eq!(grad_modulation, [2.5, 2.5, 1600.0]);
    }
}
