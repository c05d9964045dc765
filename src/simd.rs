//! The instruction sets that kernels are compiled for, and the inner products that they share.

use crate::float::{Accumulator, Scalar};

macro_rules_attribute::attribute_alias! {
    // Compiles a function once for each of these instruction sets; a call takes the best that the CPU has.
    #[apply(vectorized)] = #[multiversion::multiversion(targets(
        "x86_64+avx512f+avx512bw+avx512vl+avx512dq+avx2+fma",
        "x86_64+avx2+fma"
    ))];
}

/// Sums that run side by side, and are added up in this order at the end.
const LANES: usize = 16;

/// `⟨a, b⟩`. For multiversioned kernels.
#[inline(always)]
pub fn dot<T: Scalar>(a: &[T], b: &[T]) -> T::Acc {
    let mut lanes = [T::Acc::ZERO; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].load().mul_add(b[lane].load(), lanes[lane]);
        }
    }
    let rest: T::Acc = a_rest.iter().zip(b_rest).map(|(a, b)| a.load() * b.load()).sum();
    lanes.iter().copied().sum::<T::Acc>() + rest
}

/// `⟨a, b − c⟩`, where `a` and `c` become accumulators by `load`. For multiversioned kernels.
#[inline(always)]
pub fn dot_difference<T: Scalar, X: Copy>(a: &[X], b: &[T], c: &[X], load: impl Fn(X) -> T::Acc) -> T::Acc {
    let mut lanes = [T::Acc::ZERO; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let (c_chunks, c_rest) = c.as_chunks::<LANES>();
    for (a, (b, c)) in a_chunks.iter().zip(b_chunks.iter().zip(c_chunks)) {
        for lane in 0..LANES {
            lanes[lane] = load(a[lane]).mul_add(b[lane].load() - load(c[lane]), lanes[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest.iter().zip(c_rest));
    let rest: T::Acc = rest.map(|(&a, (b, &c))| load(a) * (b.load() - load(c))).sum();
    lanes.iter().copied().sum::<T::Acc>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lanes_and_what_is_left() {
        for length in [0, 1, LANES, 2 * LANES + 3] {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let (two, one) = (vec![2.0; length], vec![1.0; length]);
            let sum = (0..length).sum::<usize>() as f32;
            assert_eq!(dot(&a, &two), 2.0 * sum);
            assert_eq!(dot_difference(&a, &two, &one, f32::load), sum);
        }
    }
}
