//! CPU kernel of [`dechunk`](super).

use super::{BackwardGate, SMALLEST_GATE};
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::runs::Runs;
use multiversion::multiversion;
use std::ops::Range;

const LANES: usize = 16;

/// Fewest and most channels that a task owns. More are faster, because memory is read in longer stretches.
const BLOCK: Range<usize> = 128..1024;

/// Tasks that there should be before a task owns the most.
const TASKS: usize = 4;

/// Positions whose states from the right are held at a time: with their gradients they fit the cache.
const TILE: usize = 64;

/// One sequence and how its states mix.
struct Sequence<'a, T: Scalar> {
    /// `[L, D]`.
    values: &'a [T],
    /// Of the real positions.
    token_index: &'a [i64],
    /// The weight of `z̃_t` in the recurrence from the left, and in that from the right.
    left_gates: Vec<T::Acc>,
    right_gates: Vec<T::Acc>,
    num_channels: usize,
}

fn clamp<A: Accumulator>(probability: A) -> A {
    let (least, most) = (A::from_f64(SMALLEST_GATE), A::from_f64(1.0 - SMALLEST_GATE));
    if probability < least {
        least
    } else if probability > most {
        most
    } else {
        probability
    }
}

/// A block of channels of one sequence.
struct Block<'a, T: Scalar> {
    sequence: &'a Sequence<'a, T>,
    channels: Range<usize>,
}

impl<T: Scalar> Block<'_, T> {
    /// The elements of this block in row `row` of `[any, D]`.
    #[inline(always)]
    fn elements(&self, row: usize) -> Range<usize> {
        let first = row * self.sequence.num_channels;
        first + self.channels.start..first + self.channels.end
    }

    /// `z̃_t`.
    #[inline(always)]
    fn value(&self, t: usize) -> &[T] {
        &self.sequence.values[self.elements(self.sequence.token_index[t] as usize)]
    }

    /// Makes the state of `t` from that of `t + 1`.
    #[inline(always)]
    fn step_left(&self, t: usize, from: &[T::Acc], to: &mut [T::Acc]) {
        let gate = self.sequence.right_gates[t];
        for (to, (new, from)) in to.iter_mut().zip(self.value(t).iter().zip(from)) {
            *to = blend(gate, new.load(), *from);
        }
    }
}

/// `gate · new + (1 − gate) · state`.
#[inline(always)]
fn blend<A: Accumulator>(gate: A, new: A, state: A) -> A {
    (A::ONE - gate).mul_add(state, gate * new)
}

/// `⟨grad, z̃ − from⟩`.
#[inline(always)]
fn dot<T: Scalar>(grad: &[T::Acc], value: &[T], from: &[T::Acc]) -> T::Acc {
    let mut lanes = [T::Acc::ZERO; LANES];
    let (grads, grads_rest) = grad.as_chunks::<LANES>();
    let (values, values_rest) = value.as_chunks::<LANES>();
    let (froms, froms_rest) = from.as_chunks::<LANES>();
    for (grad, (value, from)) in grads.iter().zip(values.iter().zip(froms)) {
        for lane in 0..LANES {
            lanes[lane] = grad[lane].mul_add(value[lane].load() - from[lane], lanes[lane]);
        }
    }
    let rest = grads_rest.iter().zip(values_rest.iter().zip(froms_rest));
    lanes.iter().copied().sum::<T::Acc>()
        + rest.map(|(grad, (value, from))| *grad * (value.load() - *from)).sum()
}

/// States of a recurrence from the right: those of one tile, and those that enter each tile.
struct FromRight<A> {
    length: usize,
    width: usize,
    entering: Vec<A>,
    states: Vec<A>,
}

impl<A: Accumulator> FromRight<A> {
    fn new(length: usize, width: usize) -> Self {
        let entering = vec![A::ZERO; length.div_ceil(TILE) * width];
        Self { length, width, entering, states: vec![A::ZERO; (TILE + 1) * width] }
    }

    /// Walks the tiles from the right. `step(t, from, to)` makes the state of `t` from that of `t + 1`.
    #[inline(always)]
    fn enter_tiles(&mut self, step: impl Fn(usize, &[A], &mut [A])) {
        for tile in (1..self.length.div_ceil(TILE)).rev() {
            self.walk(tile, &step);
            self.entering[(tile - 1) * self.width..tile * self.width]
                .copy_from_slice(&self.states[..self.width]);
        }
    }

    /// Makes the states of a tile, and returns its positions.
    #[inline(always)]
    fn walk(&mut self, tile: usize, step: impl Fn(usize, &[A], &mut [A])) -> Range<usize> {
        let width = self.width;
        let positions = tile * TILE..((tile + 1) * TILE).min(self.length);
        self.states[positions.len() * width..][..width]
            .copy_from_slice(&self.entering[tile * width..(tile + 1) * width]);
        for (place, t) in positions.clone().enumerate().rev() {
            let (to, from) = self.states[place * width..(place + 2) * width].split_at_mut(width);
            step(t, from, to);
        }
        positions
    }

    /// The state at a place of the tile; past its end, the one that enters it.
    #[inline(always)]
    fn state(&self, place: usize) -> &[A] {
        &self.states[place * self.width..(place + 1) * self.width]
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn forward_block<T: Scalar>(block: &Block<'_, T>, out: &Disjoint<'_, T>, first_row: usize) {
    let (width, length) = (block.channels.len(), block.sequence.token_index.len());
    let half = T::Acc::from_f64(0.5);
    let mut from_left = vec![T::Acc::ZERO; width];
    let mut from_right = FromRight::new(length, width);
    from_right.enter_tiles(|t, from, to| block.step_left(t, from, to));
    for tile in 0..length.div_ceil(TILE) {
        let positions = from_right.walk(tile, |t, from, to| block.step_left(t, from, to));
        for (place, t) in positions.enumerate() {
            let gate = block.sequence.left_gates[t];
            // SAFETY: a task has channels of its own in its sequence's rows.
            let out = unsafe { out.part(block.elements(first_row + t)) };
            let new = block.value(t).iter().zip(from_right.state(place));
            for ((out, left), (new, right)) in out.iter_mut().zip(&mut from_left).zip(new) {
                *left = blend(gate, new.load(), *left);
                *out = T::store(half * (*left + *right));
            }
        }
    }
}

/// Writes, doubled, the gradients of each position's gates: `[left, right]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn backward_block<T: Scalar>(
    block: &Block<'_, T>,
    grad: &[T],
    grad_values: &Disjoint<'_, T>,
    first_token: usize,
    grad_gates: &mut [[T::Acc; 2]],
) {
    let Sequence { token_index, left_gates, right_gates, .. } = block.sequence;
    let (width, length) = (block.channels.len(), token_index.len());
    let half = T::Acc::from_f64(0.5);
    let step_grad = |t: usize, from: &[T::Acc], to: &mut [T::Acc]| {
        let keep = if t + 1 < length { T::Acc::ONE - left_gates[t + 1] } else { T::Acc::ZERO };
        for (to, (new, from)) in to.iter_mut().zip(grad[block.elements(t)].iter().zip(from)) {
            *to = keep.mul_add(*from, new.load());
        }
    };
    let (mut from_right, mut left_grads) = (FromRight::new(length, width), FromRight::new(length, width));
    from_right.enter_tiles(|t, from, to| block.step_left(t, from, to));
    left_grads.enter_tiles(step_grad);
    let mut from_left = vec![T::Acc::ZERO; width];
    let mut right_grad = vec![T::Acc::ZERO; width];
    let mut sum = vec![T::Acc::ZERO; width];
    for tile in 0..length.div_ceil(TILE) {
        from_right.walk(tile, |t, from, to| block.step_left(t, from, to));
        let positions = left_grads.walk(tile, step_grad);
        for (place, t) in positions.enumerate() {
            let (value, left_grad) = (block.value(t), left_grads.state(place));
            let keep = if t > 0 { T::Acc::ONE - right_gates[t - 1] } else { T::Acc::ZERO };
            for (state, grad) in right_grad.iter_mut().zip(&grad[block.elements(t)]) {
                *state = keep.mul_add(*state, grad.load());
            }
            grad_gates[t] =
                [dot(left_grad, value, &from_left), dot(&right_grad, value, from_right.state(place + 1))];
            let (left_gate, right_gate) = (left_gates[t], right_gates[t]);
            let grads = left_grad.iter().zip(&right_grad);
            for ((state, new), (sum, (left, right))) in
                from_left.iter_mut().zip(value).zip(sum.iter_mut().zip(grads))
            {
                *state = blend(left_gate, new.load(), *state);
                *sum = left_gate.mul_add(*left, right_gate.mul_add(*right, *sum));
            }
            if token_index.get(t + 1) != Some(&token_index[t]) {
                // SAFETY: a task has channels of its own in its sequence's rows.
                let out = unsafe { grad_values.part(block.elements(first_token + token_index[t] as usize)) };
                for (out, sum) in out.iter_mut().zip(&mut sum) {
                    *out = T::store(half * *sum);
                    *sum = T::Acc::ZERO;
                }
            }
        }
    }
}

/// What both directions read.
pub struct Arguments<'a, T: Scalar> {
    /// `[B, L, D]`.
    pub values: &'a [T],
    /// `[B, N]`.
    pub probability: &'a [T::Acc],
    /// `[B, N]`.
    pub is_forced: &'a [bool],
    /// `[B, N]`.
    pub token_index: &'a [i64],
    /// Of each sequence's row of `token_index`.
    pub runs: &'a [Runs],
    /// `N`.
    pub positions: usize,
    /// `L`.
    pub num_tokens: usize,
    /// `D`.
    pub channels: usize,
    /// Which probability gates the recurrence from the right.
    pub backward_gate: BackwardGate,
}

impl<T: Scalar> Arguments<'_, T> {
    /// Blocks of a sequence's channels.
    fn blocks(&self) -> usize {
        let block = self.channels * self.runs.len() / TASKS;
        self.channels.div_ceil(block.clamp(BLOCK.start, BLOCK.end))
    }

    /// Whether the gate of a position is its probability.
    fn is_free(&self, sequence: usize, t: usize) -> bool {
        t > 0 && t < self.runs[sequence].length() && !self.is_forced[sequence * self.positions + t]
    }

    fn sequences(&self) -> Vec<Sequence<'_, T>> {
        let sequence_of = |(sequence, runs): (usize, &Runs)| {
            let (first, length) = (sequence * self.positions, runs.length());
            let gate = |t: usize| {
                if self.is_free(sequence, t) { clamp(self.probability[first + t]) } else { T::Acc::ONE }
            };
            let right_gate = |t: usize| match self.backward_gate {
                BackwardGate::Right => gate(t + 1),
                BackwardGate::Left if t + 1 == length => T::Acc::ONE,
                BackwardGate::Left => gate(t),
            };
            let tokens = self.num_tokens * self.channels;
            Sequence {
                values: &self.values[sequence * tokens..(sequence + 1) * tokens],
                token_index: &self.token_index[first..first + length],
                left_gates: (0..length).map(gate).collect(),
                right_gates: (0..length).map(right_gate).collect(),
                num_channels: self.channels,
            }
        };
        self.runs.iter().enumerate().map(sequence_of).collect()
    }

    /// Runs `body(sequence, index, block)` for every block of channels of every sequence.
    fn for_each_block(&self, threads: usize, body: impl Fn(usize, usize, &Block<'_, T>) + Sync) {
        let (sequences, blocks) = (self.sequences(), self.blocks());
        parallel::for_each(threads, sequences.len() * blocks, |task| {
            let (sequence, index) = (task / blocks, task % blocks);
            let channels = index * self.channels / blocks..(index + 1) * self.channels / blocks;
            body(sequence, index, &Block { sequence: &sequences[sequence], channels });
        });
    }
}

/// Fills each sequence's rows `[rows, D]` past the first `used` with zeros.
fn clear_unused<T: Scalar>(out: &mut [T], runs: &[Runs], row_elements: usize, used: impl Fn(&Runs) -> usize) {
    let all = out.len() / runs.len().max(1);
    for (sequence, runs) in runs.iter().enumerate() {
        out[sequence * all + used(runs) * row_elements..(sequence + 1) * all].fill(T::store(T::Acc::ZERO));
    }
}

/// Writes `out [B, N, D]`.
pub fn forward<T: Scalar>(arguments: &Arguments<'_, T>, threads: usize, out: &mut [T]) {
    clear_unused(out, arguments.runs, arguments.channels, Runs::length);
    let out = Disjoint::new(out);
    arguments.for_each_block(threads, |sequence, _, block| {
        forward_block(block, &out, sequence * arguments.positions);
    });
}

/// Writes `grad_values [B, L, D]` and `grad_probability [B, N]` from `grad [B, N, D]`.
pub fn backward<T: Scalar>(
    arguments: &Arguments<'_, T>,
    grad: &[T],
    threads: usize,
    grad_values: &mut [T],
    grad_probability: &mut [T::Acc],
) {
    let Arguments { positions, num_tokens, channels, .. } = *arguments;
    clear_unused(grad_values, arguments.runs, channels, Runs::count);
    let blocks = arguments.blocks();
    // [B, blocks, N]
    let mut grad_gates = vec![[T::Acc::ZERO; 2]; arguments.runs.len() * blocks * positions];
    {
        let (grad_values, grad_gates) = (Disjoint::new(grad_values), Disjoint::new(&mut grad_gates));
        arguments.for_each_block(threads, |sequence, index, block| {
            let first = (sequence * blocks + index) * positions;
            // SAFETY: each block has a row of its own.
            let grad_gates = unsafe { grad_gates.part(first..first + positions) };
            let rows = positions * channels;
            let grad = &grad[sequence * rows..(sequence + 1) * rows];
            backward_block(block, grad, &grad_values, sequence * num_tokens, grad_gates);
        });
    }
    for (sequence, row) in grad_probability.chunks_exact_mut(positions.max(1)).enumerate() {
        let sum = |t: usize, side: usize| -> T::Acc {
            (0..blocks).map(|index| grad_gates[(sequence * blocks + index) * positions + t][side]).sum()
        };
        let length = arguments.runs[sequence].length();
        for (t, grad) in row.iter_mut().enumerate() {
            let probability = arguments.probability[sequence * positions + t];
            let is_inside = clamp(probability) == probability;
            let from_right = match arguments.backward_gate {
                _ if !arguments.is_free(sequence, t) || !is_inside => T::Acc::ZERO,
                BackwardGate::Right => sum(t, 0) + sum(t - 1, 1),
                BackwardGate::Left if t + 1 == length => sum(t, 0),
                BackwardGate::Left => sum(t, 0) + sum(t, 1),
            };
            *grad = T::Acc::from_f64(0.5) * from_right;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::of_batch;

    fn arguments<'a>(
        values: &'a [f64],
        probability: &'a [f64],
        token_index: &'a [i64],
        runs: &'a [Runs],
        backward_gate: BackwardGate,
    ) -> Arguments<'a, f64> {
        Arguments {
            values,
            probability,
            is_forced: &[true, false, true, false, false],
            token_index,
            runs,
            positions: 5,
            num_tokens: values.len(),
            channels: 1,
            backward_gate,
        }
    }

    #[test]
    fn both_gates_by_hand() -> crate::error::Result<()> {
        let token_index = [0, 1, 2, 2, -1];
        let runs = of_batch("op", &token_index, [1, 5], 4)?;
        let probability = [0.125, 0.5, 0.125, 0.25, f64::NAN];
        let values = [8.0, 16.0, 4.0, 99.0];
        for (gate, expected) in [
            // From the left 8, 12, 4, 4; from the right, gates ½, 1, ¼, 1: 12, 16, 4, 4.
            (BackwardGate::Right, [10.0, 14.0, 4.0, 4.0, 0.0]),
            // Gates 1, ½, 1, 1: 8, 10, 4, 4.
            (BackwardGate::Left, [8.0, 11.0, 4.0, 4.0, 0.0]),
        ] {
            let mut out = [9.0; 5];
            forward(&arguments(&values, &probability, &token_index, &runs, gate), 1, &mut out);
            assert_eq!(out, expected);
        }
        Ok(())
    }

    #[test]
    fn gradients_by_hand() -> crate::error::Result<()> {
        let token_index = [0, 1, 2, 2, -1];
        let runs = of_batch("op", &token_index, [1, 5], 4)?;
        let probability = [0.125, 0.5, 0.125, 0.25, f64::NAN];
        let values = [8.0, 16.0, 4.0, 99.0];
        let grad = [2.0, 4.0, 6.0, 8.0, f64::NAN];
        let arguments = arguments(&values, &probability, &token_index, &runs, BackwardGate::Right);
        let (mut grad_values, mut grad_probability) = ([9.0; 4], [9.0; 5]);
        backward(&arguments, &grad, 1, &mut grad_values, &mut grad_probability);
        // Twice the result is 8 + ½ (8 + 16), ½ (8 + 16) + 16, and 4 at the third and fourth, twice.
        assert_eq!(grad_values, [1.0 + 0.5 + 1.0, 0.5 + 1.0 + 2.0, 14.0, 0.0]);
        // The gate at 1 moves both the first and the second result, by 16 − 8 and 8 − 16 … halved.
        assert_eq!(grad_probability, [0.0, 0.5 * (4.0 * 8.0 + 2.0 * -8.0), 0.0, 0.0, 0.0]);
        Ok(())
    }
}
