//! CPU kernel of [`soft_merge`](super).

use crate::error::{Error, Result};
use crate::float::{Accumulator, Scalar};
use crate::groups::check_token_index;
use crate::parallel::{self, Disjoint};
use crate::simd::{dot_difference, vectorized};
use crate::windows::Windows;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Tokens or positions handed to a task at once.
const SPAN: usize = 128;

/// The dimensions of a call.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Positions, `N`.
    pub length: usize,
    /// Tokens, `L`.
    pub num_tokens: usize,
    /// Channels, `D`.
    pub channels: usize,
}

/// Of every sequence, how many positions are real, and which of them stays of each token.
pub struct Stays {
    real: Vec<usize>,
    /// Of each token, the tokens of a sequence behind those of the one before.
    positions: Vec<u32>,
    /// Where those of each sequence begin, and the end.
    starts: Vec<usize>,
}

impl Stays {
    /// Fails unless [`neighbor_match`](crate::ops::neighbor_match) could have made `token_index` in these
    /// windows with at most `num_tokens` tokens.
    pub fn new(op: &'static str, token_index: &[i64], windows: Windows, num_tokens: usize) -> Result<Self> {
        check_token_index(op, token_index, num_tokens)?;
        let (mut real, mut positions, mut starts) = (Vec::new(), Vec::new(), vec![0]);
        for index in token_index.chunks_exact(windows.length.max(1)) {
            let length = index.iter().position(|&token| token < 0).unwrap_or(index.len());
            let begins = |position: usize| position == 0 || index[position] != index[position - 1];
            let follows = |position: usize| match position {
                0 => index[0] == 0,
                _ => (0..=1).contains(&(index[position] - index[position - 1])),
            };
            let windows = windows.over(length);
            for window in (0..windows.count()).map(|index| windows.range(index)) {
                for (place, position) in window.clone().enumerate() {
                    let joins_left = place > 0 && !begins(position);
                    let joins_right = position + 1 < window.end && !begins(position + 1);
                    if place % 2 == 1 || !(joins_left || joins_right) {
                        positions.push(position as u32);
                    }
                }
            }
            // Each token has one position that stays if there are as many as tokens: none has less than one.
            let tokens = length.checked_sub(1).map_or(0, |last| index[last] + 1);
            let is_matched = index[length..].iter().all(|&token| token < 0)
                && (0..length).all(follows)
                && positions.len() - starts[real.len()] == tokens as usize;
            if !is_matched {
                let expected = "what neighbor_match makes in these windows";
                return Err(Error::value(op, "token_index", expected, "other tokens"));
            }
            starts.push(positions.len());
            real.push(length);
        }
        Ok(Self { real, positions, starts })
    }

    fn of(&self, sequence: usize) -> &[u32] {
        &self.positions[self.starts[sequence]..self.starts[sequence + 1]]
    }
}

/// One sequence.
#[derive(Clone, Copy)]
struct Sequence<'a, T: Scalar> {
    x: &'a [T],
    mass: &'a [T::Acc],
    assignment: &'a [[T::Acc; 2]],
    /// The position that stays of each token.
    stays: &'a [u32],
    real: usize,
    channels: usize,
}

impl<'a, T: Scalar> Sequence<'a, T> {
    #[inline(always)]
    fn row(&self, position: usize) -> &'a [T] {
        &self.x[position * self.channels..(position + 1) * self.channels]
    }

    /// Mass that a position has from its left neighbour, itself and its right neighbour, and their sum.
    #[inline(always)]
    fn weights(&self, position: usize) -> ([T::Acc; 3], T::Acc) {
        let [left, right] = self.assignment[position];
        let own = self.mass[position] * (T::Acc::ONE - left - right);
        let from_left = match position.checked_sub(1) {
            Some(left) => self.mass[left] * self.assignment[left][1],
            None => T::Acc::ZERO,
        };
        let from_right = if position + 1 < self.real {
            self.mass[position + 1] * self.assignment[position + 1][0]
        } else {
            T::Acc::ZERO
        };
        ([from_left, own, from_right], from_left + own + from_right)
    }

    /// The neighbour on the left, or the position itself where there is none.
    #[inline(always)]
    fn left(&self, position: usize) -> &'a [T] {
        self.row(position.saturating_sub(1))
    }

    /// The neighbour on the right, or the position itself where there is none.
    #[inline(always)]
    fn right(&self, position: usize) -> &'a [T] {
        self.row((position + 1).min(self.real - 1))
    }
}

#[apply(vectorized!)]
fn merge_span<T: Scalar>(
    sequence: Sequence<'_, T>,
    tokens: Range<usize>,
    merged: &mut [T],
    merged_mass: &mut [T::Acc],
) {
    let channels = sequence.channels;
    for (local, (token, mass)) in tokens.zip(merged_mass).enumerate() {
        let out = &mut merged[local * channels..(local + 1) * channels];
        let Some(&position) = sequence.stays.get(token) else {
            out.fill(T::store(T::Acc::ZERO));
            *mass = T::Acc::ZERO;
            continue;
        };
        let position = position as usize;
        let (weights, total) = sequence.weights(position);
        *mass = total;
        let [from_left, own, from_right] = weights.map(|weight| weight / total);
        let row = sequence.row(position);
        // What gives nothing is not looked at.
        let left = if from_left == T::Acc::ZERO { row } else { sequence.left(position) };
        let right = if from_right == T::Acc::ZERO { row } else { sequence.right(position) };
        for (out, ((left, row), right)) in out.iter_mut().zip(left.iter().zip(row).zip(right)) {
            let sum = left.load().mul_add(from_left, row.load() * own);
            *out = T::store(right.load().mul_add(from_right, sum));
        }
    }
}

/// What the position that stays of a token gives of gradients to it and its neighbours.
#[derive(Clone, Copy)]
struct Slopes<A> {
    /// Of the weights of the left neighbour, itself and the right neighbour.
    weights: [A; 3],
    /// Parts of the token's gradient that their rows get.
    parts: [A; 3],
    token: usize,
}

#[inline(always)]
fn slopes_of<T: Scalar>(
    sequence: Sequence<'_, T>,
    grad: &[T],
    grad_mass: &[T::Acc],
    token_index: &[i64],
    position: usize,
) -> Option<Slopes<T::Acc>> {
    let token = token_index[position] as usize;
    if sequence.stays[token] as usize != position {
        return None;
    }
    let grad = &grad[token * sequence.channels..(token + 1) * sequence.channels];
    let (weights, total) = sequence.weights(position);
    let inverse = T::Acc::ONE / total;
    let parts = weights.map(|weight| weight * inverse);
    // ⟨grad, x − y⟩ from differences of rows: of like neighbours a rounded mean would leave little.
    let row = sequence.row(position);
    let from_left = dot_difference(grad, sequence.left(position), row, T::load);
    let from_right = dot_difference(grad, sequence.right(position), row, T::load);
    let mean = parts[0] * from_left + parts[2] * from_right;
    let weights =
        [from_left, T::Acc::ZERO, from_right].map(|along| (along - mean) * inverse + grad_mass[token]);
    Some(Slopes { weights, parts, token })
}

#[apply(vectorized!)]
fn gradients_span<T: Scalar>(
    sequence: Sequence<'_, T>,
    grad: &[T],
    grad_mass: &[T::Acc],
    token_index: &[i64],
    positions: Range<usize>,
    grad_x: &mut [T],
    grad_of_mass: &mut [T::Acc],
    grad_assignment: &mut [[T::Acc; 2]],
) {
    let (channels, real) = (sequence.channels, sequence.real);
    let begin = positions.start.saturating_sub(1);
    let slopes: Vec<Option<Slopes<T::Acc>>> = (begin..(positions.end + 1).min(real))
        .map(|position| slopes_of(sequence, grad, grad_mass, token_index, position))
        .collect();
    for (local, position) in positions.enumerate() {
        let out = &mut grad_x[local * channels..(local + 1) * channels];
        if position >= real {
            out.fill(T::store(T::Acc::ZERO));
            grad_of_mass[local] = T::Acc::ZERO;
            grad_assignment[local] = [T::Acc::ZERO; 2];
            continue;
        }
        let of = |neighbour: Option<usize>, side: usize| match neighbour
            .and_then(|neighbour| slopes.get(neighbour - begin))
        {
            Some(&Some(Slopes { weights, parts, token })) => (weights[side], parts[side], token),
            // A row to read and to take nothing of.
            _ => (T::Acc::ZERO, T::Acc::ZERO, token_index[position] as usize),
        };
        // A position is the right neighbour of the one on its left.
        let (left, left_part, left_token) = of(position.checked_sub(1), 2);
        let (own, own_part, own_token) = of(Some(position), 1);
        let (right, right_part, right_token) = of(Some(position + 1), 0);
        let [to_left, to_right] = sequence.assignment[position];
        let kept = T::Acc::ONE - to_left - to_right;
        grad_of_mass[local] = kept * own + to_left * left + to_right * right;
        let mass = sequence.mass[position];
        grad_assignment[local] = [mass * (left - own), mass * (right - own)];
        let row = |token: usize| &grad[token * channels..(token + 1) * channels];
        let (left, own, right) = (row(left_token), row(own_token), row(right_token));
        for (out, ((left, own), right)) in out.iter_mut().zip(left.iter().zip(own).zip(right)) {
            let sum = left.load().mul_add(left_part, own.load() * own_part);
            *out = T::store(right.load().mul_add(right_part, sum));
        }
    }
}

/// The arguments of both passes that have a number for each position or channel.
#[derive(Clone, Copy)]
pub struct Arguments<'a, T: Scalar> {
    /// `[B, N, D]`.
    pub x: &'a [T],
    /// `[B, N]`.
    pub mass: &'a [T::Acc],
    /// `[B, N, 2]`.
    pub assignment: &'a [[T::Acc; 2]],
    /// Of the hard decision.
    pub stays: &'a Stays,
    /// The dimensions.
    pub shape: Shape,
}

impl<'a, T: Scalar> Arguments<'a, T> {
    fn sequence(&self, index: usize) -> Sequence<'a, T> {
        let Shape { length, channels, .. } = self.shape;
        let positions = index * length..(index + 1) * length;
        Sequence {
            x: &self.x[positions.start * channels..positions.end * channels],
            mass: &self.mass[positions.clone()],
            assignment: &self.assignment[positions],
            stays: self.stays.of(index),
            real: self.stays.real[index],
            channels,
        }
    }
}

/// Writes `merged [B, L, D]` and `merged_mass [B, L]`.
pub fn forward<T: Scalar>(
    arguments: Arguments<'_, T>,
    threads: usize,
    merged: &mut [T],
    merged_mass: &mut [T::Acc],
) {
    let Shape { length, num_tokens, channels } = arguments.shape;
    if length == 0 {
        merged.fill(T::store(T::Acc::ZERO));
        merged_mass.fill(T::Acc::ZERO);
        return;
    }
    let batch = arguments.stays.real.len();
    let (merged, merged_mass) = (Disjoint::new(merged), Disjoint::new(merged_mass));
    parallel::for_each_span(threads, batch, num_tokens, SPAN, |index, tokens| {
        let (first, last) = (index * num_tokens + tokens.start, index * num_tokens + tokens.end);
        // SAFETY: the spans of one call are disjoint.
        let (merged, merged_mass) =
            unsafe { (merged.part(first * channels..last * channels), merged_mass.part(first..last)) };
        merge_span(arguments.sequence(index), tokens, merged, merged_mass);
    });
}

/// Writes `grad_x [B, N, D]`, `grad_of_mass [B, N]` and `grad_assignment [B, N, 2]` from the gradients of the
/// forward's results.
pub fn backward<T: Scalar>(
    grad: &[T],
    grad_mass: &[T::Acc],
    arguments: Arguments<'_, T>,
    token_index: &[i64],
    threads: usize,
    grad_x: &mut [T],
    grad_of_mass: &mut [T::Acc],
    grad_assignment: &mut [[T::Acc; 2]],
) {
    let Shape { length, num_tokens, channels } = arguments.shape;
    let batch = arguments.stays.real.len();
    let (grad_x, grad_of_mass) = (Disjoint::new(grad_x), Disjoint::new(grad_of_mass));
    let grad_assignment = Disjoint::new(grad_assignment);
    parallel::for_each_span(threads, batch, length, SPAN, |index, positions| {
        let (first, last) = (index * length + positions.start, index * length + positions.end);
        // SAFETY: the spans of one call are disjoint.
        let (grad_x, grad_of_mass, grad_assignment) = unsafe {
            (
                grad_x.part(first * channels..last * channels),
                grad_of_mass.part(first..last),
                grad_assignment.part(first..last),
            )
        };
        let tokens = index * num_tokens..(index + 1) * num_tokens;
        gradients_span(
            arguments.sequence(index),
            &grad[tokens.start * channels..tokens.end * channels],
            &grad_mass[tokens],
            &token_index[index * length..(index + 1) * length],
            positions,
            grad_x,
            grad_of_mass,
            grad_assignment,
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { window: 4, shift: 0, length: 4 };

    fn stays(token_index: &[i64], num_tokens: usize) -> Result<Vec<u32>> {
        Stays::new("op", token_index, WINDOWS, num_tokens).map(|stays| stays.positions)
    }

    #[test]
    fn the_keeper_stays_or_who_is_alone() {
        assert_eq!(stays(&[0, 0, 0, 1], 3).unwrap(), [1, 3]);
        assert_eq!(stays(&[0, 1, 2, 2], 3).unwrap(), [0, 1, 3]);
        assert_eq!(stays(&[0, 0, -1, -1], 1).unwrap(), [1]);
        assert!(stays(&[-1; 4], 1).unwrap().is_empty());
    }

    #[test]
    fn other_tokens_are_refused() {
        for token_index in [[0, 0, 0, 0], [1, 1, 2, 2], [0, 2, 2, 2], [0, -1, 1, 1], [1, 0, 0, 1]] {
            let error = stays(&token_index, 3).unwrap_err().to_string();
            assert_eq!(
                error,
                "op: token_index must be what neighbor_match makes in these windows, got other tokens"
            );
        }
    }

    #[test]
    fn shares_move_a_mean() {
        // Position 0 gives half of its mass of 2 to the keeper, whose mass is 3: (3 · 8 + 1 · 4) / 4 = 7.
        let token_index = [0, 0, -1, -1];
        let stays = Stays::new("op", &token_index, WINDOWS, 2).unwrap();
        let shape = Shape { length: 4, num_tokens: 2, channels: 1 };
        let assignment = [[0.0, 0.5], [0.0; 2], [9.0; 2], [9.0; 2]];
        let x = [4.0_f64, 8.0, f64::NAN, f64::NAN];
        let arguments =
            Arguments { x: &x, mass: &[2.0, 3.0, 9.0, 9.0], assignment: &assignment, stays: &stays, shape };
        let (mut merged, mut merged_mass) = ([9.0; 2], [9.0; 2]);
        forward(arguments, 1, &mut merged, &mut merged_mass);
        assert_eq!((merged, merged_mass), ([7.0, 0.0], [4.0, 0.0]));
        let (mut grad_x, mut grad_mass, mut grad_assignment) = ([9.0; 4], [9.0; 4], [[9.0; 2]; 4]);
        let outs = (&mut grad_x, &mut grad_mass, &mut grad_assignment);
        backward(&[4.0, 9.0], &[1.0, 9.0], arguments, &token_index, 1, outs.0, outs.1, outs.2);
        // Of the weights: 4 (4 − 7) / 4 + 1 = −2 and 4 (8 − 7) / 4 + 1 = 2.
        assert_eq!(grad_x, [1.0, 3.0, 0.0, 0.0]);
        assert_eq!(grad_mass, [-1.0, 2.0, 0.0, 0.0]);
        assert_eq!(grad_assignment, [[0.0, -4.0], [-6.0, -6.0], [0.0; 2], [0.0; 2]]);
    }
}
