//! CPU kernels of [`token_unmerge`](super) and its adjoint.

use crate::float::{Accumulator, Scalar};
use crate::groups::Groups;
use crate::parallel::{self, Disjoint};
use multiversion::multiversion;
use std::ops::Range;

/// Rows handed to a task at once.
const SPAN: usize = 256;

/// Writes `out [B, N, D]` from `x [B, L, D]`.
pub fn unmerge<T: Scalar>(
    x: &[T],
    token_index: &[i64],
    length: usize,
    num_tokens: usize,
    channels: usize,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 || length == 0 {
        return;
    }
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, token_index.len() / length, length, SPAN, |sequence, positions| {
        let (first, last) = (sequence * length + positions.start, sequence * length + positions.end);
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(first * channels..last * channels) };
        for (row, &token) in out.chunks_exact_mut(channels).zip(&token_index[first..last]) {
            if let Ok(token) = usize::try_from(token) {
                let start = (sequence * num_tokens + token) * channels;
                row.copy_from_slice(&x[start..start + channels]);
            } else {
                row.fill(T::store(T::Acc::ZERO));
            }
        }
    });
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn sum_span<T: Scalar>(x: &[T], groups: &Groups, tokens: Range<usize>, channels: usize, out: &mut [T]) {
    let mut sum = vec![T::Acc::ZERO; channels];
    for (row, token) in out.chunks_exact_mut(channels).zip(tokens) {
        sum.fill(T::Acc::ZERO);
        for &member in groups.of(token) {
            let member = member as usize * channels;
            for (sum, value) in sum.iter_mut().zip(&x[member..member + channels]) {
                *sum += value.load();
            }
        }
        for (out, sum) in row.iter_mut().zip(&sum) {
            *out = T::store(*sum);
        }
    }
}

/// Writes `out [B, L, D]` from `x [B, N, D]`.
pub fn sum<T: Scalar>(
    x: &[T],
    token_index: &[i64],
    length: usize,
    num_tokens: usize,
    channels: usize,
    threads: usize,
    out: &mut [T],
) {
    if channels == 0 || length == 0 || num_tokens == 0 {
        out.fill(T::store(T::Acc::ZERO));
        return;
    }
    let groups: Vec<Groups> =
        token_index.chunks_exact(length).map(|row| Groups::new(row, num_tokens)).collect();
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, groups.len(), num_tokens, SPAN, |sequence, tokens| {
        let first = (sequence * num_tokens + tokens.start) * channels;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part(first..first + tokens.len() * channels) };
        let x = &x[sequence * length * channels..(sequence + 1) * length * channels];
        sum_span(x, &groups[sequence], tokens, channels, out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjoint_pair() {
        let token_index = [1, 0, 1, -1];
        let mut out = [9.0_f32; 8];
        unmerge(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &token_index, 4, 3, 2, 1, &mut out);
        assert_eq!(out, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        let mut back = [9.0_f32; 6];
        sum(&out, &token_index, 4, 3, 2, 1, &mut back);
        assert_eq!(back, [1.0, 2.0, 6.0, 8.0, 0.0, 0.0]);
    }
}
