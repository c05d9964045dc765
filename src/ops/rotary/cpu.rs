//! CPU kernel of [`rotary`](super).

use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;

/// Positions handed to a task at once.
const SPAN: usize = 32;

/// The dimensions of a call.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Sequences, `B`.
    pub batch: usize,
    /// Positions, `L`.
    pub length: usize,
    /// Heads, `H`.
    pub heads: usize,
    /// Half a head's channels, `d / 2`.
    pub half: usize,
}

#[apply(vectorized!)]
fn turn<T: Scalar>(heads: &[T], cos: &[T::Acc], sin: &[T::Acc], sign: T::Acc, out: &mut [T]) {
    let half = cos.len();
    for (row, out) in heads.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
        let (real, imaginary) = row.split_at(half);
        let (out_real, out_imaginary) = out.split_at_mut(half);
        for i in 0..half {
            let (real, imaginary, sin) = (real[i].load(), imaginary[i].load(), sin[i] * sign);
            out_real[i] = T::store(real * cos[i] - imaginary * sin);
            out_imaginary[i] = T::store(imaginary * cos[i] + real * sin);
        }
    }
}

/// Writes `out [B, L, 3, H, d]`: turned by the angles, or back by them where `inverse`.
pub fn forward<T: Scalar>(
    qkv: &[T],
    cos: &[T::Acc],
    sin: &[T::Acc],
    shape: Shape,
    inverse: bool,
    threads: usize,
    out: &mut [T],
) {
    let Shape { batch, length, heads, half } = shape;
    if out.is_empty() {
        return;
    }
    let sign = if inverse { -T::Acc::ONE } else { T::Acc::ONE };
    let is_shared = cos.len() == length * half;
    let (width, row) = (2 * heads * half, 6 * heads * half);
    let out = Disjoint::new(out);
    parallel::for_each_span(threads, batch, length, SPAN, |sequence, range| {
        let first = sequence * length;
        // SAFETY: the spans of one call are disjoint.
        let out = unsafe { out.part((first + range.start) * row..(first + range.end) * row) };
        for (position, out) in range.zip(out.chunks_exact_mut(row)) {
            let qkv = &qkv[(first + position) * row..(first + position + 1) * row];
            let angle = (if is_shared { position } else { first + position }) * half;
            let (cos, sin) = (&cos[angle..angle + half], &sin[angle..angle + half]);
            turn(&qkv[..2 * width], cos, sin, sign, &mut out[..2 * width]);
            out[2 * width..].copy_from_slice(&qkv[2 * width..]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_and_back() {
        let qkv = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let shape = Shape { batch: 1, length: 1, heads: 1, half: 1 };
        let (mut out, mut back) = ([9.0; 6], [9.0; 6]);
        forward(&qkv, &[0.0], &[1.0], shape, false, 1, &mut out);
        assert_eq!(out, [-2.0, 1.0, -4.0, 3.0, 5.0, 6.0]);
        forward(&out, &[0.0], &[1.0], shape, true, 1, &mut back);
        assert_eq!(back, qkv);
    }
}
