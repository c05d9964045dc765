//! CPU kernel of [`basic_units`](super).
//!
//! Choices interact only where units can touch, so a candidate that outranks all others within reach can be
//! taken at once. Positions are swept from the left; from each, a stack climbs to the highest neighbour within
//! reach until none is higher, takes that one, and comes back. Of each position only its best expert is
//! compared. A unit taken beside it may leave too little room for that expert; the next is looked for only when
//! the climb arrives there, since until then the higher key only makes others wait.
//!
//! Spans of a long sequence are swept side by side first, each as far as its climbs stay inside it; a last sweep
//! over the whole takes what lies across.
//!
//! The work is linear in the length for any scores: a position's key falls at most once an expert, and as
//! all windows are alike, a climb never turns back, so it meets positions of the stack again only after a fall.

use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::hint::select_unpredictable;
use std::ops::Range;

/// Positions handed to a task at once.
const SPAN: usize = if cfg!(test) { 50 } else { 4096 };
/// Positions whose scores are turned into keys at once.
const BLOCK: usize = 64;
const LANES: usize = 8;

/// A score and the integers that order as scores do.
pub trait Score: Copy + Send + Sync + 'static {
    /// Equal for equal scores.
    type Key: Copy + Ord + Send + Sync + 'static;
    /// Below the key of every score.
    const DEAD: Self::Key;
    /// Not a number counts as −∞, −0 as 0.
    fn key(self) -> Self::Key;
}

macro_rules! score {
    ($float:ty, $signed:ty, $unsigned:ty) => {
        impl Score for $float {
            type Key = $signed;
            const DEAD: $signed = <$signed>::MIN;
            #[inline(always)]
            fn key(self) -> $signed {
                let value = if self.is_nan() { <$float>::NEG_INFINITY } else { self + 0.0 };
                let bits = value.to_bits() as $signed;
                bits ^ (((bits >> (<$signed>::BITS - 1)) as $unsigned) >> 1) as $signed
            }
        }
    };
}
score!(f32, i32, u32);
score!(f64, i64, u64);

/// What is decided, each `[B, N]` but for the counts `[B]`.
pub struct Units<'a> {
    /// Token of each base, −1 outside the range.
    pub token_index: &'a mut [i64],
    /// Tokens of each sequence.
    pub num_tokens: &'a mut [i64],
    /// Centre of each token, −1 past the last.
    pub token_center: &'a mut [i64],
    /// Expert of each token, −1 where there is none.
    pub token_expert: &'a mut [i64],
}

/// The dimensions of a call.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// Positions of a sequence, `N`.
    pub length: usize,
    /// Kernel size of each expert.
    pub sizes: &'a [u8],
    /// Bases of each sequence.
    pub ranges: &'a [Range<usize>],
}

/// Runs `select(sequence, experts)` for every sequence, where `experts [N]` is to receive the expert of each
/// unit at the unit's first base and is −1 elsewhere, and numbers the tokens.
fn for_each_sequence(
    shape: Shape<'_>,
    threads: usize,
    units: Units<'_>,
    select: impl Fn(usize, &mut [i64]) + Sync,
) {
    let Shape { length, sizes, ranges } = shape;
    let token_index = Disjoint::new(units.token_index);
    let num_tokens = Disjoint::new(units.num_tokens);
    let token_center = Disjoint::new(units.token_center);
    let token_expert = Disjoint::new(units.token_expert);
    parallel::for_each(threads, ranges.len(), |sequence| {
        let row = sequence * length..(sequence + 1) * length;
        // SAFETY: every sequence is one task's alone.
        let (index, count, centers, experts) = unsafe {
            (
                token_index.part(row.clone()),
                num_tokens.part(sequence..sequence + 1),
                token_center.part(row.clone()),
                token_expert.part(row),
            )
        };
        select(sequence, experts);
        count[0] = number(&ranges[sequence], sizes, index, centers, experts) as i64;
    });
}

/// Turns experts at first bases into tokens in order. A token's number never exceeds its first base, so
/// `experts` is read ahead of where it is written.
fn number(
    range: &Range<usize>,
    sizes: &[u8],
    index: &mut [i64],
    centers: &mut [i64],
    experts: &mut [i64],
) -> usize {
    index[..range.start].fill(-1);
    index[range.end..].fill(-1);
    let (mut tokens, mut base) = (0, range.start);
    while base < range.end {
        let expert = experts[base];
        let size = usize::try_from(expert).map_or(1, |expert| usize::from(sizes[expert]));
        experts[tokens] = expert;
        centers[tokens] = (base + size / 2) as i64;
        index[base..base + size].fill(tokens as i64);
        tokens += 1;
        base += size;
    }
    centers[tokens..].fill(-1);
    experts[tokens..].fill(-1);
    tokens
}

/// The expert of a position that ranks highest.
#[derive(Clone, Copy, Default)]
struct Best {
    expert: u32,
    size: u8,
}

/// Largest kernel size that fits where `left` bases are free before a position and `right` from it on.
#[inline(always)]
fn room(left: usize, right: usize) -> u8 {
    (2 * left + 1).min(2 * right).min(usize::from(u8::MAX)) as u8
}

/// The first of the experts that fit with the highest key; `dead` where none fits.
#[inline(always)]
fn best_that_fits<K: Ord + Copy>(
    keys: impl Iterator<Item = K>,
    dead: K,
    sizes: &[u8],
    room: u8,
) -> (K, Best) {
    let (mut highest, mut expert) = (dead, 0);
    for (candidate, (key, &size)) in keys.zip(sizes).enumerate() {
        let key = if size <= room { key } else { dead };
        // Which of a few scores is the highest no branch predictor can know.
        expert = select_unpredictable(key > highest, candidate, expert);
        highest = highest.max(key);
    }
    (highest, Best { expert: expert as u32, size: sizes[expert] })
}

/// What is known of the positions of a span.
struct Positions<'a, K> {
    /// Key of the best expert, `DEAD` where none fits. Never below what it would be if found anew.
    keys: &'a mut [K],
    best: &'a mut [Best],
    /// Largest kernel size that fits.
    rooms: &'a mut [u8],
}

#[apply(vectorized!)]
fn best_of_span<S: Score>(
    scores: &[S],
    sizes: &[u8],
    positions: &mut Positions<'_, S::Key>,
    first: usize,
    range: &Range<usize>,
) {
    let mut keys = vec![S::DEAD; BLOCK * sizes.len()];
    for (block, scores) in scores.chunks(keys.len()).enumerate() {
        for (key, score) in keys.iter_mut().zip(scores) {
            *key = score.key();
        }
        let rows = keys.chunks_exact(sizes.len()).take(scores.len() / sizes.len());
        for (local, keys) in (block * BLOCK..).zip(rows) {
            if range.contains(&(first + local)) {
                let room = room(first + local - range.start, range.end - first - local);
                positions.rooms[local] = room;
                (positions.keys[local], positions.best[local]) =
                    best_that_fits(keys.iter().copied(), S::DEAD, sizes, room);
            }
        }
    }
}

/// A sequence while its units are being taken.
struct Sequence<'a, S: Score> {
    scores: &'a [S],
    sizes: &'a [u8],
    range: Range<usize>,
    /// The largest kernel size.
    widest: usize,
    positions: Positions<'a, S::Key>,
    /// Dead keys before the first position: `widest − 1`, with a window of them behind the last, so that any
    /// position has a window; none in a part of a sequence.
    before: usize,
}

impl<S: Score> Sequence<'_, S> {
    #[inline(always)]
    fn key(&mut self, position: usize) -> &mut S::Key {
        &mut self.positions.keys[position + self.before]
    }

    /// Finds the best expert of a position anew if a unit beside it has left too little room for its own.
    #[inline(always)]
    fn is_refitted(&mut self, position: usize) -> bool {
        let room = self.positions.rooms[position];
        if self.positions.best[position].size <= room {
            return false;
        }
        let scores = &self.scores[position * self.sizes.len()..(position + 1) * self.sizes.len()];
        let (key, best) = best_that_fits(scores.iter().map(|score| score.key()), S::DEAD, self.sizes, room);
        *self.key(position) = key;
        self.positions.best[position] = best;
        true
    }

    /// The first of the highest positions within reach.
    #[inline(always)]
    fn highest_around(&self, position: usize) -> usize {
        let first = position + self.before + 1 - self.widest;
        let window = self.positions.keys[first..first + window_length(self.widest)].as_chunks::<LANES>().0;
        let mut lanes = [S::DEAD; LANES];
        for keys in window {
            for lane in 0..LANES {
                lanes[lane] = lanes[lane].max(keys[lane]);
            }
        }
        let highest = fold(lanes, S::Key::max);
        let mut places = [u32::MAX; LANES];
        for (chunk, keys) in window.iter().enumerate() {
            for lane in 0..LANES {
                let place = (chunk * LANES + lane) as u32;
                places[lane] = places[lane].min(if keys[lane] == highest { place } else { u32::MAX });
            }
        }
        position + fold(places, u32::min) as usize + 1 - self.widest
    }

    #[inline(always)]
    fn take(&mut self, center: usize, taken: &mut [i64]) {
        let Best { expert, size } = self.positions.best[center];
        let start = center - usize::from(size) / 2;
        let end = start + usize::from(size);
        taken[start] = i64::from(expert);
        self.positions.keys[start + self.before..end + self.before].fill(S::DEAD);
        let behind = end..self.range.end.min(end + self.widest / 2);
        for (left, room) in self.positions.rooms[behind].iter_mut().enumerate() {
            *room = (*room).min(2 * left as u8 + 1);
        }
        let before = self.range.start.max((start + 1).saturating_sub(self.widest.div_ceil(2)))..start;
        for (right, room) in self.positions.rooms[before].iter_mut().rev().enumerate() {
            *room = (*room).min(2 * right as u8 + 2);
        }
    }
}

#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], pick: impl Fn(T, T) -> T) -> T {
    for half in [4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = pick(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

/// Positions that are compared with one another: all whose units could touch, filled up to whole lanes.
const fn window_length(widest: usize) -> usize {
    (2 * widest - 1).next_multiple_of(LANES)
}

/// When to leave positions to a later sweep.
#[derive(Clone, Copy)]
struct Patience {
    longest_climb: usize,
    abandoned_climbs: usize,
}

/// Takes the units that climbs from `interior` lead to, of those climbs that stay inside it.
#[apply(vectorized!)]
fn sweep<S: Score>(
    sequence: &mut Sequence<'_, S>,
    interior: &Range<usize>,
    mut patience: Patience,
    taken: &mut [i64],
) {
    let mut climb = Vec::new();
    for first in interior.clone() {
        climb.push(first);
        while let Some(&top) = climb.last() {
            if *sequence.key(top) == S::DEAD {
                climb.pop();
                continue;
            }
            if !interior.contains(&top) || climb.len() > patience.longest_climb {
                climb.clear();
                patience.abandoned_climbs -= 1;
                break;
            }
            if sequence.is_refitted(top) {
                continue;
            }
            let highest = sequence.highest_around(top);
            if highest == top {
                sequence.take(top, taken);
                climb.pop();
            } else {
                climb.push(highest);
            }
        }
        if patience.abandoned_climbs == 0 {
            return;
        }
    }
}

/// Decides the units of `scores [B, N, E]`.
pub fn forward<S: Score>(scores: &[S], shape: Shape<'_>, threads: usize, units: Units<'_>) {
    let Shape { length, sizes, ranges } = shape;
    units.token_expert.fill(-1);
    let Some(widest) = sizes.iter().copied().max().map(usize::from) else {
        for_each_sequence(shape, threads, units, |_, _| ());
        return;
    };
    let padded = length + window_length(widest);
    let mut keys = vec![S::DEAD; ranges.len() * padded];
    let mut best = vec![Best::default(); ranges.len() * length];
    let mut rooms = vec![0_u8; ranges.len() * length];
    {
        let (keys, best) = (Disjoint::new(&mut keys), Disjoint::new(&mut best));
        let (rooms, taken) = (Disjoint::new(&mut rooms), Disjoint::new(units.token_expert));
        parallel::for_each_span(threads, ranges.len(), length, SPAN, |sequence, span| {
            let rows = sequence * length + span.start..sequence * length + span.end;
            let first_key = sequence * padded + widest - 1 + span.start;
            // SAFETY: the spans of one call are disjoint.
            let (keys, best, rooms, taken) = unsafe {
                (
                    keys.part(first_key..first_key + span.len()),
                    best.part(rows.clone()),
                    rooms.part(rows.clone()),
                    taken.part(rows.clone()),
                )
            };
            let scores = &scores[rows.start * sizes.len()..rows.end * sizes.len()];
            let mut positions = Positions { keys, best, rooms };
            best_of_span(scores, sizes, &mut positions, span.start, &ranges[sequence]);
            if threads > 1 && span.len() < length {
                let of_span = |base: usize| base.clamp(span.start, span.end) - span.start;
                let range = of_span(ranges[sequence].start)..of_span(ranges[sequence].end);
                // What windows and units of the interior reach lies in the span.
                let interior = widest - 1..span.len().saturating_sub(window_length(widest) - widest);
                let patience = Patience { longest_climb: 64, abandoned_climbs: 4 * widest };
                let mut part = Sequence { scores, sizes, range, widest, positions, before: 0 };
                sweep(&mut part, &interior, patience, taken);
            }
        });
    }
    let (keys, best) = (Disjoint::new(&mut keys), Disjoint::new(&mut best));
    let rooms = Disjoint::new(&mut rooms);
    for_each_sequence(shape, threads, units, |sequence, taken| {
        let rows = sequence * length..(sequence + 1) * length;
        // SAFETY: every sequence is one task's alone.
        let (keys, best, rooms) = unsafe {
            (
                keys.part(sequence * padded..(sequence + 1) * padded),
                best.part(rows.clone()),
                rooms.part(rows.clone()),
            )
        };
        let scores = &scores[rows.start * sizes.len()..rows.end * sizes.len()];
        let positions = Positions { keys, best, rooms };
        let (range, before) = (ranges[sequence].clone(), widest - 1);
        let endless = Patience { longest_climb: usize::MAX, abandoned_climbs: usize::MAX };
        let mut whole = Sequence { scores, sizes, range: range.clone(), widest, positions, before };
        sweep(&mut whole, &range, endless, taken);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decision = (Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>);

    fn decide(
        run: impl Fn(Shape<'_>, Units<'_>),
        length: usize,
        sizes: &[u8],
        ranges: &[Range<usize>],
    ) -> Decision {
        let rows = length * ranges.len();
        let (mut index, mut counts) = (vec![9; rows], vec![9; ranges.len()]);
        let (mut centers, mut experts) = (vec![9; rows], vec![9; rows]);
        let units = Units {
            token_index: &mut index,
            num_tokens: &mut counts,
            token_center: &mut centers,
            token_expert: &mut experts,
        };
        run(Shape { length, sizes, ranges }, units);
        (index, counts, centers, experts)
    }

    /// The definition: all candidates sorted, then taken where they are free.
    fn by_sorting(scores: &[f32], shape: Shape<'_>, units: Units<'_>) {
        let Shape { length, sizes, ranges } = shape;
        units.token_expert.fill(-1);
        for_each_sequence(shape, 1, units, |sequence, taken| {
            let range = ranges[sequence].start as isize..ranges[sequence].end as isize;
            let score = |place: usize| scores[sequence * length * sizes.len() + place].key();
            let mut places: Vec<usize> = (0..length * sizes.len()).collect();
            places.sort_by_key(|&place| std::cmp::Reverse(score(place)));
            let mut is_taken = vec![false; length];
            for place in places {
                let (center, expert) = (place / sizes.len(), place % sizes.len());
                let start = center as isize - isize::from(sizes[expert] / 2);
                let end = start + isize::from(sizes[expert]);
                if start < range.start || end > range.end {
                    continue;
                }
                let unit = start as usize..end as usize;
                if !is_taken[unit.clone()].contains(&true) {
                    taken[unit.start] = expert as i64;
                    is_taken[unit].fill(true);
                }
            }
        });
    }

    #[test]
    fn the_best_first_then_what_is_free() {
        // Sizes 3 and 2: (3, size 3) covers 2..5; then (2, size 2) overlaps, (1, size 2) covers 0..2; 5 is left.
        let scores = [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.0, 2.5], [0.0, 0.0], [9.0, 9.0]];
        let run = |shape: Shape<'_>, units: Units<'_>| forward(scores.as_flattened(), shape, 1, units);
        let (index, counts, centers, experts) = decide(run, 7, &[3, 2], std::slice::from_ref(&(0..6)));
        assert_eq!(index, [0, 0, 1, 1, 1, 2, -1]);
        assert_eq!(counts, [3]);
        assert_eq!(centers, [1, 3, 5, -1, -1, -1, -1]);
        assert_eq!(experts, [1, 0, -1, -1, -1, -1, -1]);
    }

    #[test]
    fn keys_order_as_scores() {
        let ascending = [f32::NEG_INFINITY, f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX, f32::INFINITY];
        let keys = ascending.map(Score::key);
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys[0] > f32::DEAD);
        assert_eq!((-0.0_f32).key(), 0.0_f32.key());
        assert_eq!(f32::NAN.key(), f32::NEG_INFINITY.key());
    }

    proptest! {
        #[test]
        fn equals_sorting(
            length in 0_usize..300,
            sizes in prop::collection::vec(prop_oneof![1_u8..=5, 1_u8..=64], 1..6),
            levels in prop_oneof![Just(1), Just(100)],
            scores in prop::collection::vec(-3.0..3.0_f32, 2 * 300 * 5),
            ends in prop::array::uniform2((0_usize..=300, 0_usize..=300)),
            threads in 1_usize..4,
        ) {
            let scores = &scores[..2 * length * sizes.len()];
            let scores: Vec<f32> = scores.iter().map(|score| (score * levels as f32).round()).collect();
            let ranges = ends.map(|(a, b)| a.min(b).min(length)..a.max(b).min(length));
            let ours = decide(|shape, units| forward(&scores, shape, threads, units), length, &sizes, &ranges);
            let theirs = decide(|shape, units| by_sorting(&scores, shape, units), length, &sizes, &ranges);
            prop_assert_eq!(ours, theirs);
        }
    }
}
