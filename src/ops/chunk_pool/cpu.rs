//! CPU kernels of [`chunk_pool`](super).

use super::Pooling;
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::runs::Runs;
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Chunks, or positions, handed to a task at once.
const SPAN: usize = 256;

/// Channels that are summed at once.
const BLOCK: usize = 64;

#[apply(vectorized!)]
fn pool_span<T: Scalar>(
    x: &[T],
    runs: &Runs,
    chunks: Range<usize>,
    channels: usize,
    pooling: Pooling,
    out: &mut [T],
) {
    for (chunk, out) in chunks.zip(out.chunks_exact_mut(channels)) {
        if chunk >= runs.count() {
            out.fill(T::store(T::Acc::ZERO));
            continue;
        }
        let members = runs.of(chunk);
        let first = &x[members.start * channels..(members.start + 1) * channels];
        if pooling == Pooling::Boundary || members.len() == 1 {
            out.copy_from_slice(first);
            continue;
        }
        let count = T::Acc::from_f64(members.len() as f64);
        let members = &x[members.start * channels..members.end * channels];
        // Sums of a block stay in registers.
        let mut blocks = out.chunks_exact_mut(BLOCK);
        for (index, out) in blocks.by_ref().enumerate() {
            let mut sums = [T::Acc::ZERO; BLOCK];
            for row in members.chunks_exact(channels) {
                for (sum, value) in sums.iter_mut().zip(&row[index * BLOCK..(index + 1) * BLOCK]) {
                    *sum += value.load();
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = T::store(sum / count);
            }
        }
        let rest = channels / BLOCK * BLOCK;
        for (out, channel) in blocks.into_remainder().iter_mut().zip(rest..) {
            let mut sum = T::Acc::ZERO;
            for row in members.chunks_exact(channels) {
                sum += row[channel].load();
            }
            *out = T::store(sum / count);
        }
    }
}

/// Writes `out [B, L, D]` from `x [B, N, D]` and the chunks of each sequence, of which there are at most `L`.
pub fn forward<T: Scalar>(
    x: &[T],
    runs: &[Runs],
    positions: usize,
    max_tokens: usize,
    channels: usize,
    pooling: Pooling,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 || runs.is_empty() {
        out.fill(T::store(T::Acc::ZERO));
        return;
    }
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, runs.len(), max_tokens, SPAN, |sequence, chunks| {
        let first = (sequence * max_tokens + chunks.start) * channels;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(first..first + chunks.len() * channels) };
        let x = &x[sequence * positions * channels..(sequence + 1) * positions * channels];
        pool_span(x, &runs[sequence], chunks, channels, pooling, out);
    });
}

#[apply(vectorized!)]
fn spread_span<T: Scalar>(
    grad: &[T],
    runs: &Runs,
    token_index: &[i64],
    first: usize,
    channels: usize,
    pooling: Pooling,
    out: &mut [T],
) {
    for (place, (&token, out)) in token_index.iter().zip(out.chunks_exact_mut(channels)).enumerate() {
        let Ok(chunk) = usize::try_from(token) else {
            out.fill(T::store(T::Acc::ZERO));
            continue;
        };
        let members = runs.of(chunk);
        let grad = &grad[chunk * channels..(chunk + 1) * channels];
        if members.len() == 1 || pooling == Pooling::Boundary && members.start == first + place {
            out.copy_from_slice(grad);
        } else if pooling == Pooling::Boundary {
            out.fill(T::store(T::Acc::ZERO));
        } else {
            let share = T::Acc::ONE / T::Acc::from_f64(members.len() as f64);
            for (out, grad) in out.iter_mut().zip(grad) {
                *out = T::store(grad.load() * share);
            }
        }
    }
}

/// Writes `grad_x [B, N, D]` from `grad [B, L, D]`.
pub fn backward<T: Scalar>(
    grad: &[T],
    runs: &[Runs],
    token_index: &[i64],
    positions: usize,
    max_tokens: usize,
    channels: usize,
    pooling: Pooling,
    threads: usize,
    grad_x: &mut [T],
) {
    if channels == 0 {
        return;
    }
    let grad_x = Disjoint::new(grad_x);
    parallel::for_each_span(threads, runs.len(), positions, SPAN, |sequence, span| {
        let rows = sequence * positions + span.start..sequence * positions + span.end;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { grad_x.part(rows.start * channels..rows.end * channels) };
        let grad = &grad[sequence * max_tokens * channels..(sequence + 1) * max_tokens * channels];
        spread_span(grad, &runs[sequence], &token_index[rows], span.start, channels, pooling, out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::of_batch;

    #[test]
    fn means_first_vectors_and_their_adjoints() -> crate::error::Result<()> {
        let x = [1.0_f32, 3.0, 7.0, 2.0, 4.0, 4.0, 6.0, f32::NAN];
        let index = [0, 1, 1, 2, 2, 2, 2, -1];
        let runs = of_batch("op", &index, [1, 8], 4)?;
        for (pooling, pooled, spread) in [
            (Pooling::Mean, [1.0, 5.0, 4.0, 0.0], [4.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 0.0]),
            (Pooling::Boundary, [1.0, 3.0, 2.0, 0.0], [4.0, 6.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0]),
        ] {
            let (mut out, mut grad_x) = ([9.0_f32; 4], [9.0_f32; 8]);
            forward(&x, &runs, 8, 4, 1, pooling, 1, &mut out);
            assert_eq!(out, pooled);
            backward(&[4.0, 6.0, 8.0, 5.0], &runs, &index, 8, 4, 1, pooling, 1, &mut grad_x);
            assert_eq!(grad_x, spread);
        }
        Ok(())
    }
}
