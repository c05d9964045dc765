//! CPU kernel of [`token_merge`](super).

use crate::float::{Accumulator, Scalar};
use crate::groups::Groups;
use crate::parallel::{self, Disjoint};
use crate::simd::{dot_difference, vectorized};
use crate::windows::Windows;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Tokens or positions handed to a task at once.
const SPAN: usize = 256;

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

/// What turns scores into soft assignments, `[B, N]` each, with the windows they were matched in.
#[derive(Clone, Copy)]
pub struct Soft<'a, A> {
    /// Cosine of each position and its right neighbour.
    pub scores: &'a [A],
    /// θ of each position.
    pub threshold: &'a [A],
    /// The windows of a sequence without padding.
    pub windows: Windows,
    /// τ.
    pub temperature: f64,
}

#[apply(vectorized!)]
fn merge_span<T: Scalar>(
    x: &[T],
    sizes: &[i64],
    groups: &Groups,
    tokens: Range<usize>,
    channels: usize,
    merged: &mut [T],
    merged_sizes: &mut [i64],
) {
    let mut sum = vec![T::Acc::ZERO; channels];
    for (local, token) in tokens.enumerate() {
        let out = &mut merged[local * channels..(local + 1) * channels];
        let row = |position: u32| &x[position as usize * channels..(position as usize + 1) * channels];
        let members = groups.of(token);
        let total: i64 = members.iter().map(|&member| sizes[member as usize]).sum();
        merged_sizes[local] = total;
        match members {
            [] => out.fill(T::store(T::Acc::ZERO)),
            [only] => out.copy_from_slice(row(*only)),
            _ => {
                sum.fill(T::Acc::ZERO);
                for &member in members {
                    let weight = share::<T::Acc>(sizes[member as usize], total);
                    for (sum, value) in sum.iter_mut().zip(row(member)) {
                        *sum = value.load().mul_add(weight, *sum);
                    }
                }
                for (out, sum) in out.iter_mut().zip(&sum) {
                    *out = T::store(*sum);
                }
            }
        }
    }
}

#[inline(always)]
fn share<A: Accumulator>(size: i64, total: i64) -> A {
    if total == 0 { A::ZERO } else { A::from_f64(size as f64 / total as f64) }
}

/// Gradients of the two edges of a candidate from the gradients of their assignments.
///
/// An edge is `(score, gradient of the assignment)`; an absent one stays absent.
fn edge_gradients<A: Accumulator>(edges: [Option<(A, A)>; 2], threshold: A, temperature: f64) -> [A; 2] {
    let tau = A::from_f64(temperature);
    let highest = edges.iter().flatten().fold(A::NEG_INFINITY, |highest, &(score, _)| highest.max(score));
    let exponential = edges.map(|edge| edge.map_or(A::ZERO, |(score, _)| ((score - highest) / tau).exp()));
    let total = exponential[0] + exponential[1];
    let mut to_preference = A::ZERO;
    let mut parts = [(A::ZERO, A::ZERO, A::ZERO); 2];
    for side in 0..2 {
        let Some((score, grad)) = edges[side] else { continue };
        let preference = exponential[side] / total;
        let gate = A::ONE / (A::ONE + (-(score - threshold) / tau).exp());
        parts[side] = (preference, gate, grad);
        to_preference += grad * gate * preference;
    }
    parts.map(|(preference, gate, grad)| {
        let through_gate = grad * gate * (A::ONE - gate) * preference;
        let through_preference = preference * (grad * gate - to_preference);
        (through_gate + through_preference) / tau
    })
}

#[apply(vectorized!)]
fn grad_x_span<T: Scalar>(
    grad_merged: &[T],
    sizes: &[i64],
    merged_sizes: &[i64],
    token_index: &[i64],
    positions: Range<usize>,
    channels: usize,
    grad_x: &mut [T],
) {
    for (position, out) in positions.zip(grad_x.chunks_exact_mut(channels)) {
        let Ok(token) = usize::try_from(token_index[position]) else {
            out.fill(T::store(T::Acc::ZERO));
            continue;
        };
        let grad = &grad_merged[token * channels..(token + 1) * channels];
        if sizes[position] == merged_sizes[token] {
            out.copy_from_slice(grad);
        } else {
            let weight = share::<T::Acc>(sizes[position], merged_sizes[token]);
            for (out, grad) in out.iter_mut().zip(grad) {
                *out = T::store(grad.load() * weight);
            }
        }
    }
}

#[apply(vectorized!)]
fn grad_scores_window<T: Scalar>(
    grad_merged: &[T],
    x: &[T],
    groups: &Groups,
    sizes: &[i64],
    merged_sizes: &[i64],
    token_index: &[i64],
    scores: &[T::Acc],
    threshold: T::Acc,
    temperature: f64,
    window: Range<usize>,
    channels: usize,
    grad_scores: &mut [T::Acc],
) {
    grad_scores.fill(T::Acc::ZERO);
    if window.len() < 2 {
        return;
    }
    for candidate in window.clone().step_by(2) {
        let edge = |keeper: usize, score: usize| {
            let token = token_index[keeper] as usize;
            let share_of = |position: usize| share::<T::Acc>(sizes[position], merged_sizes[token]);
            let row = |position: usize| &x[position * channels..(position + 1) * channels];
            let grad = &grad_merged[token * channels..(token + 1) * channels];
            // ⟨grad, x − mean⟩ from the members: of like neighbours a rounded mean would leave little.
            let members = groups.of(token).iter().map(|&member| member as usize);
            let others = members.filter(|&member| member != candidate);
            let product = others
                .map(|member| share_of(member) * dot_difference(grad, row(candidate), row(member), T::load))
                .sum::<T::Acc>();
            (scores[score], share_of(candidate) * product)
        };
        let left = (candidate > window.start).then(|| edge(candidate - 1, candidate - 1));
        let right = (candidate + 1 < window.end).then(|| edge(candidate + 1, candidate));
        let [to_left, to_right] = edge_gradients([left, right], threshold, temperature);
        if left.is_some() {
            grad_scores[candidate - 1 - window.start] = to_left;
        }
        if right.is_some() {
            grad_scores[candidate - window.start] = to_right;
        }
    }
}

/// Writes `merged [B, L, D]` and `merged_sizes [B, L]`.
pub fn forward<T: Scalar>(
    x: &[T],
    sizes: &[i64],
    token_index: &[i64],
    shape: Shape,
    threads: usize,
    merged: &mut [T],
    merged_sizes: &mut [i64],
) {
    let Shape { length, num_tokens, channels } = shape;
    if num_tokens == 0 || length == 0 {
        merged.fill(T::store(T::Acc::ZERO));
        merged_sizes.fill(0);
        return;
    }
    let batch = token_index.len() / length;
    let groups: Vec<Groups> =
        token_index.chunks_exact(length).map(|row| Groups::new(row, num_tokens)).collect();
    let (merged, merged_sizes) = (Disjoint::new(merged), Disjoint::new(merged_sizes));
    parallel::for_each_span(threads, batch, num_tokens, SPAN, |sequence, tokens| {
        let (first, last) = (sequence * num_tokens + tokens.start, sequence * num_tokens + tokens.end);
        // SAFETY: the spans of one call are disjoint.
        let (merged, merged_sizes) =
            unsafe { (merged.part(first * channels..last * channels), merged_sizes.part(first..last)) };
        let rows = sequence * length..(sequence + 1) * length;
        let x = &x[rows.start * channels..rows.end * channels];
        merge_span(x, &sizes[rows], &groups[sequence], tokens, channels, merged, merged_sizes);
    });
}

/// Writes `grad_x [B, N, D]`.
pub fn backward_x<T: Scalar>(
    grad_merged: &[T],
    merged_sizes: &[i64],
    sizes: &[i64],
    token_index: &[i64],
    shape: Shape,
    threads: usize,
    grad_x: &mut [T],
) {
    let Shape { length, num_tokens, channels } = shape;
    if channels == 0 || length == 0 {
        return;
    }
    let grad_x = Disjoint::new(grad_x);
    parallel::for_each_span(threads, token_index.len() / length, length, SPAN, |sequence, positions| {
        let rows = sequence * length..(sequence + 1) * length;
        let tokens = sequence * num_tokens..(sequence + 1) * num_tokens;
        let part = (rows.start + positions.start) * channels..(rows.start + positions.end) * channels;
        // SAFETY: the spans of one call are disjoint.
        let grad_x = unsafe { grad_x.part(part) };
        grad_x_span(
            &grad_merged[tokens.start * channels..tokens.end * channels],
            &sizes[rows.clone()],
            &merged_sizes[tokens],
            &token_index[rows],
            positions,
            channels,
            grad_x,
        );
    });
}

/// Writes `grad_scores [B, N]`.
pub fn backward_scores<T: Scalar>(
    grad_merged: &[T],
    merged_sizes: &[i64],
    x: &[T],
    sizes: &[i64],
    token_index: &[i64],
    soft: Soft<'_, T::Acc>,
    shape: Shape,
    threads: usize,
    grad_scores: &mut [T::Acc],
) {
    let Shape { length, num_tokens, channels } = shape;
    grad_scores.fill(T::Acc::ZERO);
    if channels == 0 || length == 0 {
        return;
    }
    let batch = token_index.len() / length;
    let real: Vec<usize> = token_index
        .chunks_exact(length)
        .map(|row| row.iter().rposition(|&token| token >= 0).map_or(0, |last| last + 1))
        .collect();
    let groups: Vec<Groups> =
        token_index.chunks_exact(length).map(|row| Groups::new(row, num_tokens)).collect();
    let grad_scores = Disjoint::new(grad_scores);
    let most = soft.windows.count();
    parallel::for_each_span(threads, batch, most, SPAN.div_ceil(soft.windows.window), |sequence, indices| {
        let rows = sequence * length..(sequence + 1) * length;
        let tokens = sequence * num_tokens..(sequence + 1) * num_tokens;
        let token_channels = tokens.start * channels..tokens.end * channels;
        let windows = soft.windows.over(real[sequence]);
        for window in indices.map(|index| windows.range(index)).filter(|window| !window.is_empty()) {
            // SAFETY: windows are disjoint.
            let grad_scores = unsafe { grad_scores.part(rows.start + window.start..rows.start + window.end) };
            grad_scores_window(
                &grad_merged[token_channels.clone()],
                &x[rows.start * channels..rows.end * channels],
                &groups[sequence],
                &sizes[rows.clone()],
                &merged_sizes[tokens.clone()],
                &token_index[rows.clone()],
                &soft.scores[rows.clone()],
                soft.threshold[rows.start + window.start],
                soft.temperature,
                window,
                channels,
                grad_scores,
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_weigh_the_mean() {
        let x = [1.0_f32, 5.0, 8.0, 2.0];
        let (mut merged, mut merged_sizes) = ([9.0; 3], [9; 3]);
        let shape = Shape { length: 4, num_tokens: 3, channels: 1 };
        forward(&x, &[3, 1, 2, 4], &[0, 0, 1, -1], shape, 1, &mut merged, &mut merged_sizes);
        assert_eq!((merged, merged_sizes), ([2.0, 8.0, 0.0], [4, 2, 0]));
        let mut grad_x = [9.0; 4];
        backward_x(&[8.0, 1.0, 7.0], &merged_sizes, &[3, 1, 2, 4], &[0, 0, 1, -1], shape, 1, &mut grad_x);
        assert_eq!(grad_x, [6.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn one_edge_learns_through_its_gate_alone() {
        // σ'(0) = 1/4 and a preference of 1, over τ = 0.1.
        let [left, right] = edge_gradients([None, Some((0.5_f64, 2.0))], 0.5, 0.1);
        assert!((left, (right - 5.0).abs() < 1e-12) == (0.0, true));
    }
}
