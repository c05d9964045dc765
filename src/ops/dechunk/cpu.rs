//! CPU kernel of [`dechunk`](super).

use super::{BackwardGate, SMALLEST_GATE};
use crate::flag::Flag;
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::runs::Runs;
use crate::simd::{dot_difference, vectorized};
use macro_rules_attribute::apply;
use std::ops::Range;

/// States of a tile: with their gradients they fit the cache.
const TILE_STATES: usize = 1 << 16;

/// What both directions read.
pub struct Arguments<'a, T: Scalar> {
    /// `[B, L, D]`.
    pub values: &'a [T],
    /// `[B, N]`.
    pub probability: &'a [T::Acc],
    /// `[B, N]`.
    pub is_forced: &'a [Flag],
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

/// The weights of `z̃_t` in one sequence: in the recurrence from the left and in that from the right.
struct Gates<A> {
    left: Vec<A>,
    right: Vec<A>,
}

impl<A: Accumulator> Gates<A> {
    /// What the state of `t` takes over from that of `t − 1`.
    fn kept_from_left(&self, t: usize) -> A {
        A::ONE - self.left[t]
    }

    /// What the state of `t` takes over from that of `t + 1`.
    fn kept_from_right(&self, t: usize) -> A {
        A::ONE - self.right[t]
    }

    /// What the gradient of the state of `t` from the right takes over from that of `t − 1`.
    fn grad_from_left(&self, t: usize) -> A {
        if t > 0 { self.kept_from_right(t - 1) } else { A::ZERO }
    }

    /// What the gradient of the state of `t` from the left takes over from that of `t + 1`.
    fn grad_from_right(&self, t: usize) -> A {
        if t + 1 < self.left.len() { self.kept_from_left(t + 1) } else { A::ZERO }
    }
}

/// How much rows of a tile count at its edges: `[at its end from the left, at its start from the right]`.
struct Weights<A> {
    rows: Vec<[A; 2]>,
    /// The same of what enters the tile from that side.
    kept: [A; 2],
}

/// Whole chunks of one sequence, walked by one task.
struct Tile<'a, T: Scalar> {
    sequence: usize,
    tokens: Range<usize>,
    positions: Range<usize>,
    /// `[tokens, D]`.
    values: &'a [T],
    /// Of the whole sequence.
    token_index: &'a [i64],
    /// Of the whole sequence.
    gates: &'a Gates<T::Acc>,
}

impl<T: Scalar> Tile<'_, T> {
    /// Whether its sequence begins with it.
    fn is_first(&self) -> bool {
        self.positions.start == 0
    }

    /// Whether its sequence ends with it.
    fn is_last(&self) -> bool {
        self.positions.end == self.gates.left.len()
    }

    /// `z̃_t`.
    #[inline(always)]
    fn value(&self, t: usize, channels: usize) -> &[T] {
        let row = self.token_index[t] as usize - self.tokens.start;
        &self.values[row * channels..(row + 1) * channels]
    }

    /// Of the chunks' vectors in the states.
    fn state_weights(&self) -> Weights<T::Acc> {
        let mut rows = vec![[T::Acc::ZERO; 2]; self.tokens.len()];
        let mut kept = [T::Acc::ONE; 2];
        for (from_left, from_right) in self.positions.clone().rev().zip(self.positions.clone()) {
            let gates = [self.gates.left[from_left], self.gates.right[from_right]];
            for (side, t) in [from_left, from_right].into_iter().enumerate() {
                rows[self.token_index[t] as usize - self.tokens.start][side] += kept[side] * gates[side];
                kept[side] = kept[side] * (T::Acc::ONE - gates[side]);
            }
        }
        Weights { rows, kept }
    }

    /// Of the gradients of the result in those of the states.
    fn grad_weights(&self) -> Weights<T::Acc> {
        let mut rows = vec![[T::Acc::ZERO; 2]; self.positions.len()];
        let mut kept = [T::Acc::ONE; 2];
        for (from_left, from_right) in self.positions.clone().rev().zip(self.positions.clone()) {
            rows[from_left - self.positions.start][0] = kept[0];
            rows[from_right - self.positions.start][1] = kept[1];
            kept[0] = kept[0] * self.gates.grad_from_left(from_left);
            kept[1] = kept[1] * self.gates.grad_from_right(from_right);
        }
        Weights { rows, kept }
    }
}

impl<T: Scalar> Arguments<'_, T> {
    /// Whether the gate of a position is its probability.
    fn is_free(&self, sequence: usize, t: usize) -> bool {
        t > 0 && t < self.runs[sequence].length() && !self.is_forced[sequence * self.positions + t].is_set()
    }

    fn gates(&self) -> Vec<Gates<T::Acc>> {
        let gates_of = |(sequence, runs): (usize, &Runs)| {
            let length = runs.length();
            let gate = |t: usize| {
                let is_free = self.is_free(sequence, t);
                if is_free { clamp(self.probability[sequence * self.positions + t]) } else { T::Acc::ONE }
            };
            let right_gate = |t: usize| match self.backward_gate {
                BackwardGate::Right => gate(t + 1),
                BackwardGate::Left if t + 1 == length => T::Acc::ONE,
                BackwardGate::Left => gate(t),
            };
            Gates { left: (0..length).map(gate).collect(), right: (0..length).map(right_gate).collect() }
        };
        self.runs.iter().enumerate().map(gates_of).collect()
    }

    /// The tiles of all sequences, in order.
    fn tiles<'a>(&'a self, gates: &'a [Gates<T::Acc>]) -> Vec<Tile<'a, T>> {
        let least = TILE_STATES.div_ceil(self.channels.max(1));
        let mut tiles = Vec::new();
        for (sequence, (runs, gates)) in self.runs.iter().zip(gates).enumerate() {
            let token_index = &self.token_index[sequence * self.positions..(sequence + 1) * self.positions];
            let mut first = 0;
            for token in 0..runs.count() {
                let positions = runs.of(first).start..runs.of(token).end;
                if positions.len() >= least || token + 1 == runs.count() {
                    let tokens = first..token + 1;
                    let row = |token: usize| (sequence * self.num_tokens + token) * self.channels;
                    let values = &self.values[row(tokens.start)..row(tokens.end)];
                    first = token + 1;
                    tiles.push(Tile { sequence, tokens, positions, values, token_index, gates });
                }
            }
        }
        tiles
    }
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

/// Rows `[tiles, D]` at the edges of tiles: of a recurrence from the left at their ends, and of one from the
/// right at their starts.
struct Edges<A> {
    left: Vec<A>,
    right: Vec<A>,
    zeros: Vec<A>,
}

impl<A: Accumulator> Edges<A> {
    /// Walks no position: sums the rows `[any, D]` that `terms` gives of each tile by their weights, then goes
    /// from tile to tile.
    fn new<'a, T: Scalar<Acc = A>>(
        tiles: &[Tile<'_, T>],
        channels: usize,
        threads: usize,
        terms: impl Fn(usize) -> (&'a [T], Weights<A>) + Sync,
    ) -> Self {
        let mut edges = Self {
            left: vec![A::ZERO; tiles.len() * channels],
            right: vec![A::ZERO; tiles.len() * channels],
            zeros: vec![A::ZERO; channels],
        };
        let mut kept = vec![[A::ZERO; 2]; tiles.len()];
        {
            let (left, right) = (Disjoint::new(&mut edges.left), Disjoint::new(&mut edges.right));
            let kept = Disjoint::new(&mut kept);
            parallel::for_each(threads, tiles.len(), |index| {
                let row = index * channels..(index + 1) * channels;
                // SAFETY: each tile has rows of its own.
                let (left, right, kept) =
                    unsafe { (left.part(row.clone()), right.part(row), kept.part(index..index + 1)) };
                let (rows, weights) = terms(index);
                kept[0] = weights.kept;
                weighted_sums(rows, &weights.rows, left, right);
            });
        }
        for index in 1..tiles.len() {
            if !tiles[index].is_first() {
                let (before, this) = edges.left.split_at_mut(index * channels);
                add_scaled(kept[index][0], &before[(index - 1) * channels..], &mut this[..channels]);
            }
        }
        for index in (1..tiles.len()).rev() {
            if !tiles[index].is_first() {
                let (this, after) = edges.right.split_at_mut(index * channels);
                add_scaled(kept[index - 1][1], &after[..channels], &mut this[(index - 1) * channels..]);
            }
        }
        edges
    }

    /// What enters the tile from the left and from the right.
    fn entering<T: Scalar>(&self, index: usize, tile: &Tile<'_, T>) -> [&[A]; 2] {
        let channels = self.zeros.len();
        [
            if tile.is_first() { &self.zeros } else { &self.left[(index - 1) * channels..index * channels] },
            if tile.is_last() { &self.zeros } else { &self.right[(index + 1) * channels..][..channels] },
        ]
    }
}

#[apply(vectorized!)]
fn add_scaled<A: Accumulator>(scale: A, from: &[A], to: &mut [A]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = scale.mul_add(*from, *to);
    }
}

#[apply(vectorized!)]
fn weighted_sums<T: Scalar>(
    rows: &[T],
    weights: &[[T::Acc; 2]],
    left_sum: &mut [T::Acc],
    right_sum: &mut [T::Acc],
) {
    for (row, [left, right]) in rows.chunks_exact(left_sum.len()).zip(weights) {
        for ((left_sum, right_sum), value) in left_sum.iter_mut().zip(right_sum.iter_mut()).zip(row) {
            let value = value.load();
            *left_sum = left.mul_add(value, *left_sum);
            *right_sum = right.mul_add(value, *right_sum);
        }
    }
}

/// `gate · new + (1 − gate) · state`.
#[inline(always)]
fn blend<A: Accumulator>(gate: A, new: A, state: A) -> A {
    (A::ONE - gate).mul_add(state, gate * new)
}

/// Rows of a recurrence from the right at `positions`, and then the one that enters them. `step(t, from, to)`
/// makes the row of `t` from that of `t + 1`.
#[inline(always)]
fn walk_left<A: Accumulator>(
    positions: Range<usize>,
    entering: &[A],
    step: impl Fn(usize, &[A], &mut [A]),
) -> Vec<A> {
    let channels = entering.len();
    let mut rows = vec![A::ZERO; (positions.len() + 1) * channels];
    rows[positions.len() * channels..].copy_from_slice(entering);
    for (place, t) in positions.enumerate().rev() {
        let (to, from) = rows[place * channels..(place + 2) * channels].split_at_mut(channels);
        step(t, from, to);
    }
    rows
}

/// The states from the right.
#[inline(always)]
fn states_from_right<T: Scalar>(tile: &Tile<'_, T>, entering: &[T::Acc]) -> Vec<T::Acc> {
    walk_left(tile.positions.clone(), entering, |t, from, to| {
        let gate = tile.gates.right[t];
        for (to, (new, from)) in to.iter_mut().zip(tile.value(t, entering.len()).iter().zip(from)) {
            *to = blend(gate, new.load(), *from);
        }
    })
}

#[apply(vectorized!)]
fn forward_tile<T: Scalar>(tile: &Tile<'_, T>, entering: [&[T::Acc]; 2], out: &mut [T]) {
    let channels = entering[0].len();
    let half = T::Acc::from_f64(0.5);
    let from_right = states_from_right(tile, entering[1]);
    let mut from_left = entering[0].to_vec();
    let rows = out.chunks_exact_mut(channels).zip(from_right.chunks_exact(channels));
    for (t, (out, from_right)) in tile.positions.clone().zip(rows) {
        let gate = tile.gates.left[t];
        let new = tile.value(t, channels).iter().zip(from_right);
        for ((out, left), (new, right)) in out.iter_mut().zip(&mut from_left).zip(new) {
            *left = blend(gate, new.load(), *left);
            *out = T::store(half * (*left + *right));
        }
    }
}

/// Writes, doubled, the gradients of each position's gates: `[left, right]`.
#[apply(vectorized!)]
fn backward_tile<T: Scalar>(
    tile: &Tile<'_, T>,
    grad: &[T],
    entering_states: [&[T::Acc]; 2],
    entering_grads: [&[T::Acc]; 2],
    grad_values: &mut [T],
    grad_gates: &mut [[T::Acc; 2]],
) {
    let channels = entering_states[0].len();
    let half = T::Acc::from_f64(0.5);
    let grad_of = |t: usize| &grad[(t - tile.positions.start) * channels..][..channels];
    let from_right = states_from_right(tile, entering_states[1]);
    let left_grads = walk_left(tile.positions.clone(), entering_grads[1], |t, from, to| {
        let keep = tile.gates.grad_from_right(t);
        for (to, (new, from)) in to.iter_mut().zip(grad_of(t).iter().zip(from)) {
            *to = keep.mul_add(*from, new.load());
        }
    });
    let mut from_left = entering_states[0].to_vec();
    let mut right_grad = entering_grads[0].to_vec();
    let mut sum = vec![T::Acc::ZERO; channels];
    let mut grad_values = grad_values.chunks_exact_mut(channels);
    let rows = left_grads.chunks_exact(channels).zip(from_right.chunks_exact(channels).skip(1));
    for ((t, grad_gates), (left_grad, next)) in tile.positions.clone().zip(grad_gates).zip(rows) {
        let value = tile.value(t, channels);
        let keep = tile.gates.grad_from_left(t);
        for (state, grad) in right_grad.iter_mut().zip(grad_of(t)) {
            *state = keep.mul_add(*state, grad.load());
        }
        *grad_gates = [
            dot_difference(left_grad, value, &from_left, |sum| sum),
            dot_difference(&right_grad, value, next, |sum| sum),
        ];
        let (left_gate, right_gate) = (tile.gates.left[t], tile.gates.right[t]);
        let grads = left_grad.iter().zip(&right_grad);
        for ((state, new), (sum, (left, right))) in
            from_left.iter_mut().zip(value).zip(sum.iter_mut().zip(grads))
        {
            *state = blend(left_gate, new.load(), *state);
            *sum = left_gate.mul_add(*left, right_gate.mul_add(*right, *sum));
        }
        let ends_chunk = t + 1 == tile.positions.end || tile.token_index[t + 1] != tile.token_index[t];
        if ends_chunk && let Some(out) = grad_values.next() {
            for (out, sum) in out.iter_mut().zip(&mut sum) {
                *out = T::store(half * *sum);
                *sum = T::Acc::ZERO;
            }
        }
    }
}

/// Fills each sequence's rows `[rows, D]` past the first `used` with zeros; without runs, all.
fn clear_unused<T: Scalar>(out: &mut [T], runs: &[Runs], row_elements: usize, used: impl Fn(&Runs) -> usize) {
    if runs.is_empty() {
        out.fill(T::store(T::Acc::ZERO));
        return;
    }
    let all = out.len() / runs.len();
    for (sequence, runs) in runs.iter().enumerate() {
        out[sequence * all + used(runs) * row_elements..(sequence + 1) * all].fill(T::store(T::Acc::ZERO));
    }
}

/// Writes `out [B, N, D]`.
pub fn forward<T: Scalar>(arguments: &Arguments<'_, T>, threads: usize, out: &mut [T]) {
    let Arguments { positions, channels, runs, .. } = *arguments;
    if channels == 0 {
        return;
    }
    clear_unused(out, runs, channels, Runs::length);
    let gates = arguments.gates();
    let tiles = arguments.tiles(&gates);
    let states =
        Edges::new(&tiles, channels, threads, |index| (tiles[index].values, tiles[index].state_weights()));
    let out = Disjoint::new(out);
    parallel::for_each(threads, tiles.len(), |index| {
        let tile = &tiles[index];
        let first = tile.sequence * positions;
        let rows = (first + tile.positions.start) * channels..(first + tile.positions.end) * channels;
        // SAFETY: the positions of two tiles are disjoint.
        forward_tile(tile, states.entering(index, tile), unsafe { out.part(rows) });
    });
}

/// Writes `grad_values [B, L, D]` and `grad_probability [B, N]` from `grad [B, N, D]`.
pub fn backward<T: Scalar>(
    grad: &[T],
    arguments: &Arguments<'_, T>,
    threads: usize,
    grad_values: &mut [T],
    grad_probability: &mut [T::Acc],
) {
    let Arguments { positions, num_tokens, channels, runs, .. } = *arguments;
    // [B, N], of the gates from the left and from the right, doubled.
    let mut grad_gates = vec![[T::Acc::ZERO; 2]; grad_probability.len()];
    if channels > 0 {
        clear_unused(grad_values, runs, channels, Runs::count);
        let gates = arguments.gates();
        let tiles = arguments.tiles(&gates);
        let places = |index: usize| {
            let tile = &tiles[index];
            tile.sequence * positions + tile.positions.start..tile.sequence * positions + tile.positions.end
        };
        let grad_of = |index: usize| &grad[places(index).start * channels..places(index).end * channels];
        let states = Edges::new(&tiles, channels, threads, |index| {
            (tiles[index].values, tiles[index].state_weights())
        });
        let grads =
            Edges::new(&tiles, channels, threads, |index| (grad_of(index), tiles[index].grad_weights()));
        let (grad_values, grad_gates) = (Disjoint::new(grad_values), Disjoint::new(&mut grad_gates));
        parallel::for_each(threads, tiles.len(), |index| {
            let tile = &tiles[index];
            let first = tile.sequence * num_tokens;
            let rows = (first + tile.tokens.start) * channels..(first + tile.tokens.end) * channels;
            // SAFETY: the chunks and the positions of two tiles are disjoint.
            let (grad_values, grad_gates) =
                unsafe { (grad_values.part(rows), grad_gates.part(places(index))) };
            let entering = (states.entering(index, tile), grads.entering(index, tile));
            backward_tile(tile, grad_of(index), entering.0, entering.1, grad_values, grad_gates);
        });
    }
    for (place, out) in grad_probability.iter_mut().enumerate() {
        let (sequence, t) = (place / positions, place % positions);
        let probability = arguments.probability[place];
        let is_learnt = arguments.is_free(sequence, t) && clamp(probability) == probability;
        let from_right = match arguments.backward_gate {
            BackwardGate::Right => place.checked_sub(1),
            BackwardGate::Left => (t + 1 < runs[sequence].length()).then_some(place),
        };
        let [from_left, from_right] =
            [grad_gates[place][0], from_right.map_or(T::Acc::ZERO, |place| grad_gates[place][1])];
        *out = if is_learnt { T::Acc::from_f64(0.5) * (from_left + from_right) } else { T::Acc::ZERO };
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
            is_forced: const {
                &[Flag::new(true), Flag::new(false), Flag::new(true), Flag::new(false), Flag::new(false)]
            },
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
        backward(&grad, &arguments, 1, &mut grad_values, &mut grad_probability);
        // Twice the result is 8 + ½ (8 + 16), ½ (8 + 16) + 16, and 4 at the third and fourth, twice.
        assert_eq!(grad_values, [1.0 + 0.5 + 1.0, 0.5 + 1.0 + 2.0, 14.0, 0.0]);
        // The gate at 1 moves both the first and the second result, by 16 − 8 and 8 − 16 … halved.
        assert_eq!(grad_probability, [0.0, 0.5 * (4.0 * 8.0 + 2.0 * -8.0), 0.0, 0.0, 0.0]);
        Ok(())
    }
}
