//! CPU kernel of [`global_match`](super).

use super::{EPSILON, GRID};
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use multiversion::target::match_target;
use std::cmp::Reverse;
use std::ops::Range;

/// Candidates scored at once.
const ROWS: usize = 4;

/// Keepers scored at once, side by side for each channel.
const PANEL: usize = 64;

/// Candidates of a task: with one panel they fit the first two levels of cache.
const BLOCK: usize = 128;

/// What a candidate proposes: its score in steps of the grid, and the keeper.
type Proposal = (i32, usize);

/// Best score of one candidate in each column of the panels, and the first panel that has it.
#[derive(Clone, Copy)]
struct Best<A> {
    scores: [A; PANEL],
    panels: [u32; PANEL],
}

/// Adding this rounds a sum to an integer, half to even: it leaves the mantissa no bit below the unit.
fn snap<A: Accumulator>() -> A {
    A::from_f64(if size_of::<A>() == 4 { 12_582_912.0 } else { 6_755_399_441_055_744.0 })
}

/// Writes `scale` times the unit vectors of every second row from `first` on, transposed to `[C, WIDTH]`;
/// columns past the last row are `fill`.
#[inline(always)]
fn pack<T: Scalar, const WIDTH: usize>(
    sequence: &[T],
    channels: usize,
    first: usize,
    scale: f64,
    fill: f64,
    packed: &mut [[T::Acc; WIDTH]],
) {
    packed.fill([T::Acc::from_f64(fill); WIDTH]);
    // Without channels there is nothing to pack, whatever the row's size.
    for (column, row) in sequence.chunks_exact(channels.max(1)).skip(first).step_by(2).take(WIDTH).enumerate()
    {
        for (packed, value) in packed.iter_mut().zip(row) {
            packed[column] = value.load();
        }
    }
    let mut norms = [T::Acc::ZERO; WIDTH];
    for values in &*packed {
        for column in 0..WIDTH {
            norms[column] = values[column].mul_add(values[column], norms[column]);
        }
    }
    for norm in &mut norms {
        *norm = norm.sqrt().max(T::Acc::from_f64(EPSILON));
    }
    let scale = T::Acc::from_f64(scale);
    for values in packed {
        for column in 0..WIDTH {
            values[column] = values[column] / norms[column] * scale;
        }
    }
}

#[apply(vectorized!)]
fn pack_candidates<T: Scalar>(sequence: &[T], channels: usize, first: usize, packed: &mut [[T::Acc; ROWS]]) {
    pack(sequence, channels, 2 * first, GRID, 0.0, packed);
}

#[apply(vectorized!)]
fn pack_panel<T: Scalar>(sequence: &[T], channels: usize, panel: usize, packed: &mut [[T::Acc; PANEL]]) {
    // A sum with NaN beats nothing, so a column without a keeper never wins.
    pack(sequence, channels, 2 * panel * PANEL + 1, 1.0, f64::NAN, packed);
}

/// Inner products of packed candidates and keepers, `WIDTH` columns at a time: their sums stay in registers.
#[inline(always)]
fn multiply_columns<A: Accumulator, const WIDTH: usize>(
    candidates: &[[A; ROWS]],
    keepers: &[[A; PANEL]],
    products: &mut [[A; PANEL]; ROWS],
) {
    for column in (0..PANEL).step_by(WIDTH) {
        let mut sums = [[A::ZERO; WIDTH]; ROWS];
        for (candidates, keepers) in candidates.iter().zip(keepers) {
            for row in 0..ROWS {
                for lane in 0..WIDTH {
                    sums[row][lane] = candidates[row].mul_add(keepers[column + lane], sums[row][lane]);
                }
            }
        }
        for (products, sums) in products.iter_mut().zip(&sums) {
            products[column..column + WIDTH].copy_from_slice(sums);
        }
    }
}

// This and the next stay functions of their own: merged into one loop they are not vectorised.
#[apply(vectorized!)]
fn multiply<A: Accumulator>(
    candidates: &[[A; ROWS]],
    keepers: &[[A; PANEL]],
    products: &mut [[A; PANEL]; ROWS],
) {
    match_target! {
        "x86_64+avx512f" => multiply_columns::<A, PANEL>(candidates, keepers, products),
        _ => multiply_columns::<A, 16>(candidates, keepers, products),
    }
}

#[apply(vectorized!)]
fn keep_best<A: Accumulator>(products: &[[A; PANEL]; ROWS], panel: u32, best: &mut [Best<A>; ROWS]) {
    let snap = snap::<A>();
    for (products, best) in products.iter().zip(best) {
        for ((product, score), panel_of) in products.iter().zip(&mut best.scores).zip(&mut best.panels) {
            let new = *product + snap;
            let is_better = new > *score;
            *score = if is_better { new } else { *score };
            *panel_of = if is_better { panel } else { *panel_of };
        }
    }
}

/// Writes the proposals of the candidates from the `first` on.
fn propose<T: Scalar>(
    sequence: &[T],
    channels: usize,
    first: usize,
    panels: &[[T::Acc; PANEL]],
    num_panels: usize,
    proposals: &mut [Proposal],
) {
    let groups = proposals.len().div_ceil(ROWS);
    let lowest = snap::<T::Acc>() + T::Acc::from_f64(-2.0 * GRID);
    let mut candidates = vec![[T::Acc::ZERO; ROWS]; groups * channels];
    let mut best = vec![[Best { scores: [lowest; PANEL], panels: [0; PANEL] }; ROWS]; groups];
    let mut products = [[T::Acc::ZERO; PANEL]; ROWS];
    for group in 0..groups {
        let packed = &mut candidates[group * channels..(group + 1) * channels];
        pack_candidates(sequence, channels, first + group * ROWS, packed);
    }
    for panel in 0..num_panels {
        let keepers = &panels[panel * channels..(panel + 1) * channels];
        for (group, best) in best.iter_mut().enumerate() {
            multiply(&candidates[group * channels..(group + 1) * channels], keepers, &mut products);
            keep_best(&products, panel as u32, best);
        }
    }
    for (proposal, best) in proposals.iter_mut().zip(best.as_flattened()) {
        let mut winner = (i32::MIN, Reverse(0));
        for (column, (&score, &panel)) in best.scores.iter().zip(&best.panels).enumerate() {
            let steps = (score - snap::<T::Acc>()).to_f64() as i32;
            winner = winner.max((steps, Reverse(panel as usize * PANEL + column)));
        }
        *proposal = (winner.0, winner.1.0);
    }
}

/// Accepts the best `num_merges` proposals and numbers the first `length` tokens; the others are −1.
fn number(proposals: &[Proposal], length: usize, num_merges: usize, token_index: &mut [i64]) {
    let mut ranking: Vec<_> =
        proposals.iter().enumerate().map(|(candidate, &(score, _))| (Reverse(score), candidate)).collect();
    if num_merges > 0 {
        ranking.select_nth_unstable(num_merges - 1);
    }
    let accepted = &ranking[..num_merges];
    let (tokens, padding) = token_index.split_at_mut(length);
    padding.fill(-1);
    tokens.fill(0);
    for &(_, candidate) in accepted {
        tokens[2 * candidate] = -1;
    }
    for (number, token) in tokens.iter_mut().filter(|token| **token == 0).enumerate() {
        *token = number as i64;
    }
    for &(_, candidate) in accepted {
        tokens[2 * candidate] = tokens[2 * proposals[candidate].1 + 1];
    }
}

/// One sequence's place in the arrays that all sequences share.
struct Sequence {
    rows: Range<usize>,
    num_merges: usize,
    panels: Range<usize>,
    proposals: Range<usize>,
}

/// Writes `token_index [B, L]`. `lengths[b] <= L` and `num_merges[b] <= max_merges(lengths[b])`.
pub fn forward<T: Scalar>(
    metric: &[T],
    channels: usize,
    lengths: &[i64],
    num_merges: &[i64],
    threads: usize,
    token_index: &mut [i64],
) {
    if token_index.is_empty() {
        return;
    }
    let width = token_index.len() / lengths.len();
    let (mut num_panels, mut num_proposals) = (0, 0);
    let sequences: Vec<_> = lengths
        .iter()
        .zip(num_merges)
        .enumerate()
        .map(|(index, (&length, &num_merges))| {
            let (length, num_merges) = (length as usize, num_merges as usize);
            let matched = if num_merges == 0 { 0 } else { length };
            let (panels, proposals) = (num_panels, num_proposals);
            num_panels += (matched / 2).div_ceil(PANEL);
            num_proposals += matched.div_ceil(2);
            let rows = index * width..index * width + length;
            Sequence { rows, num_merges, panels: panels..num_panels, proposals: proposals..num_proposals }
        })
        .collect();
    let tokens_of =
        |sequence: &Sequence| &metric[sequence.rows.start * channels..sequence.rows.end * channels];

    let mut panels = vec![[T::Acc::ZERO; PANEL]; num_panels * channels];
    let tasks = blocks_of(&sequences, 1, |sequence| &sequence.panels);
    let panels_out = Disjoint::new(&mut panels);
    parallel::for_each(threads, tasks.len(), |task| {
        let (sequence, Range { start: panel, .. }) = tasks[task];
        // SAFETY: each task takes its own panel.
        let packed = unsafe { panels_out.part(panel * channels..(panel + 1) * channels) };
        pack_panel(tokens_of(sequence), channels, panel - sequence.panels.start, packed);
    });

    let mut proposals = vec![Proposal::default(); num_proposals];
    let tasks = blocks_of(&sequences, BLOCK, |sequence| &sequence.proposals);
    let proposals_out = Disjoint::new(&mut proposals);
    parallel::for_each(threads, tasks.len(), |task| {
        let (sequence, block) = &tasks[task];
        // SAFETY: blocks are disjoint.
        let proposals = unsafe { proposals_out.part(block.clone()) };
        let (first, own) = (block.start - sequence.proposals.start, &sequence.panels);
        let panels = &panels[own.start * channels..own.end * channels];
        propose(tokens_of(sequence), channels, first, panels, own.len(), proposals);
    });

    let token_index = Disjoint::new(token_index);
    parallel::for_each(threads, sequences.len(), |index| {
        let sequence = &sequences[index];
        // SAFETY: each task takes its own sequence's row.
        let token_index = unsafe { token_index.part(index * width..(index + 1) * width) };
        number(&proposals[sequence.proposals.clone()], sequence.rows.len(), sequence.num_merges, token_index);
    });
}

/// Cuts every sequence's range into blocks of at most `size`.
fn blocks_of(
    sequences: &[Sequence],
    size: usize,
    range: impl Fn(&Sequence) -> &Range<usize>,
) -> Vec<(&Sequence, Range<usize>)> {
    let blocks = |sequence| {
        let Range { start, end } = *range(sequence);
        (start..end).step_by(size).map(move |first| (sequence, first..end.min(first + size)))
    };
    sequences.iter().flat_map(blocks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<T: Scalar>(metric: &[T], channels: usize, num_merges: i64) -> Vec<i64> {
        let length = metric.len() / channels;
        let mut token_index = vec![9; length];
        forward(metric, channels, &[length as i64], &[num_merges], 2, &mut token_index);
        token_index
    }

    #[test]
    fn candidates_join_their_best_keeper() {
        let metric = [1.0_f32, 0.0, 0.0, 1.0, 0.0, 2.0, 3.0, 0.0, 0.6, 0.8];
        assert_eq!(matched(&metric, 2, 0), [0, 1, 2, 3, 4]);
        assert_eq!(matched(&metric, 2, 1), [2, 0, 1, 2, 3]);
        assert_eq!(matched(&metric, 2, 2), [1, 0, 0, 1, 2]);
        assert_eq!(matched(&metric, 2, 3), [1, 0, 0, 1, 0]);
    }

    #[test]
    fn the_lower_position_wins_a_tie() {
        for length in [2, 3, 65, 66, 300] {
            let metric = vec![-1.0_f64; length * 3];
            let expected: Vec<_> =
                (0..length).map(|i| if i < 4 && i % 2 == 0 { 0 } else { i as i64 / 2 }).collect();
            let mut token_index = matched(&metric, 3, length.div_ceil(2).min(2) as i64);
            token_index.truncate(4);
            assert_eq!(token_index, &expected[..token_index.len()]);
        }
    }

    #[test]
    fn every_width_of_register_tile_gives_the_same_products() {
        let candidates: Vec<[f32; ROWS]> = (0..7).map(|c| [c as f32, 1.5, -0.25, 1e-3 * c as f32]).collect();
        let keepers: Vec<[f32; PANEL]> =
            (0..7).map(|c| std::array::from_fn(|column| (column * 7 + c) as f32 / 9.0)).collect();
        let (mut wide, mut narrow) = ([[0.0; PANEL]; ROWS], [[1.0; PANEL]; ROWS]);
        multiply_columns::<f32, PANEL>(&candidates, &keepers, &mut wide);
        multiply_columns::<f32, 16>(&candidates, &keepers, &mut narrow);
        assert_eq!(wide, narrow);
    }
}
