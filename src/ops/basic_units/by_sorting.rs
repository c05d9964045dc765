//! The same decision by sorting all candidates: what the benchmark measures [`cpu`](super::cpu) against.

use super::cpu::{Score, Shape, Units, for_each_sequence};

/// Sorts by the upper 32 bits and keeps the order of equal ones: by radix, 2.5 times as fast as `sort_unstable`.
fn sort_by_score(packed: &mut Vec<u64>) {
    const BITS: u32 = 11;
    let mut sorted = vec![0; packed.len()];
    for shift in [32, 32 + BITS, 32 + 2 * BITS] {
        let digit = |value: u64| (value >> shift) as usize & ((1 << BITS) - 1);
        let mut next = [0_usize; 1 << BITS];
        for &value in &*packed {
            next[digit(value)] += 1;
        }
        let mut before = 0;
        for entry in &mut next {
            before += std::mem::replace(entry, before);
        }
        for &value in &*packed {
            let place = &mut next[digit(value)];
            sorted[*place] = value;
            *place += 1;
        }
        std::mem::swap(packed, &mut sorted);
    }
}

/// Decides the units of `scores [B, N, E]`, where `N · E` fits in 32 bits.
pub fn forward(scores: &[f32], shape: Shape<'_>, threads: usize, units: Units<'_>) {
    let Shape { length, sizes, ranges } = shape;
    let experts = sizes.len();
    units.token_expert.fill(-1);
    for_each_sequence(shape, threads, units, |sequence, taken| {
        let range = &ranges[sequence];
        let scores = &scores[sequence * length * experts..(sequence + 1) * length * experts];
        let unit = |center: usize, expert: usize| {
            let start = center as isize - isize::from(sizes[expert] / 2);
            start..start + isize::from(sizes[expert])
        };
        let mut candidates = Vec::with_capacity(range.len() * experts);
        for center in range.clone() {
            for expert in 0..experts {
                let span = unit(center, expert);
                if span.start >= range.start as isize && span.end <= range.end as isize {
                    let place = center * experts + expert;
                    let descending = !(scores[place].key() as u32 ^ (1 << 31));
                    candidates.push((u64::from(descending) << 32) | place as u64);
                }
            }
        }
        sort_by_score(&mut candidates);
        let mut is_taken = vec![false; length];
        for candidate in candidates {
            let place = candidate as u32 as usize;
            let span = unit(place / experts, place % experts);
            let span = span.start as usize..span.end as usize;
            if !is_taken[span.clone()].contains(&true) {
                taken[span.start] = (place % experts) as i64;
                is_taken[span].fill(true);
            }
        }
    });
}
