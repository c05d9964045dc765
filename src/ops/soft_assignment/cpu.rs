//! CPU kernel of [`soft_assignment`](super).

use super::{LEAST, MOST};
use crate::float::{Accumulator, sigmoid};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use crate::windows::Windows;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Windows that are computed side by side.
const LANES: usize = 16;
/// Positions handed to a task at once.
const SPAN: usize = 1024;
/// Below every score.
const LOWEST: f64 = -1e6;

/// A number of each of the windows that are computed side by side.
type Lanes<A> = [A; LANES];

/// What is the same for all sequences of a call.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The windows of a sequence without padding.
    pub windows: Windows,
    /// τ.
    pub temperature: f64,
}

/// One sequence.
#[derive(Clone, Copy)]
struct Sequence<'a, A> {
    scores: &'a [A],
    windows: Windows,
    num_merges: i64,
    candidates: usize,
}

/// Candidates of some windows, one row for each place in a window.
struct Candidates<A> {
    /// The better score, then what the steps make of it.
    logits: Vec<Lanes<A>>,
    /// 1 where there is a candidate, 0 elsewhere.
    exists: Vec<Lanes<A>>,
    /// Score on the left less that on the right.
    difference: Vec<Lanes<A>>,
    /// Preference of the left keeper and of the right one, where there are both.
    preference: [Vec<Lanes<A>>; 2],
    /// What is given, before it is cut at [`MOST`].
    given: Vec<Lanes<A>>,
    /// `r` of each window.
    budget: Lanes<A>,
    /// `p^k` of each step, one after the other.
    shares: Vec<Lanes<A>>,
    inverse_temperature: A,
}

impl<A: Accumulator> Candidates<A> {
    /// Memory for windows of at most `most` candidates.
    fn new(most: usize, temperature: f64) -> Self {
        let lanes = || vec![[A::ZERO; LANES]; most];
        Self {
            logits: lanes(),
            exists: lanes(),
            difference: lanes(),
            preference: [lanes(), lanes()],
            given: lanes(),
            budget: [A::ZERO; LANES],
            shares: Vec::new(),
            inverse_temperature: A::from_f64(1.0 / temperature),
        }
    }

    /// Reads the windows of `indices`, at most as many as there are lanes.
    fn read(&mut self, sequence: Sequence<'_, A>, indices: Range<usize>) {
        self.logits.fill([A::from_f64(LOWEST); LANES]);
        self.exists.fill([A::ZERO; LANES]);
        self.difference.fill([A::ZERO; LANES]);
        self.budget.fill(A::ZERO);
        for (lane, index) in indices.enumerate() {
            let window = sequence.windows.range(index);
            let count = Windows::candidates_of(window.len());
            if count == 0 {
                continue;
            }
            let share = sequence.num_merges as f64 * count as f64 / sequence.candidates as f64;
            self.budget[lane] = A::from_f64(share);
            for (place, candidate) in window.clone().step_by(2).enumerate() {
                let (has_left, has_right) = edges(&window, candidate);
                let left = if has_left { sequence.scores[candidate - 1] } else { A::from_f64(LOWEST) };
                let right = if has_right { sequence.scores[candidate] } else { A::from_f64(LOWEST) };
                self.logits[place][lane] = if left > right { left } else { right };
                self.exists[place][lane] = A::ONE;
                self.difference[place][lane] = left - right;
            }
        }
    }

    /// What a candidate gives, and its preference of the keepers on its left and right.
    fn choice(&self, place: usize, lane: usize, has_edges: (bool, bool)) -> (A, [A; 2]) {
        let (given, most) = (self.given[place][lane], A::from_f64(MOST));
        let preference = match has_edges {
            (true, true) => [0, 1].map(|side| self.preference[side][place][lane]),
            _ => [A::ONE; 2],
        };
        (if given > most { most } else { given }, preference)
    }

    /// Steps until every window has spent its budget.
    fn steps(&self) -> usize {
        let most = self.budget.iter().fold(A::ZERO, |most, &budget| most.max(budget));
        (most.to_f64().ceil() as usize).min(self.logits.len())
    }
}

/// Whether a candidate has a keeper on its left, and on its right.
fn edges(window: &Range<usize>, candidate: usize) -> (bool, bool) {
    (candidate > window.start, candidate + 1 < window.end)
}

/// What is left of each budget for a step, at most 1.
#[inline(always)]
fn weights<A: Accumulator>(budget: &Lanes<A>, step: usize) -> Lanes<A> {
    budget.map(|budget| {
        let left = (budget - A::from_f64(step as f64)).max(A::ZERO);
        if left > A::ONE { A::ONE } else { left }
    })
}

/// Makes `given` and `preference`, and keeps the shares of each step.
#[apply(vectorized!)]
fn select<A: Accumulator>(c: &mut Candidates<A>) {
    let (least, sharpness, steps) = (A::from_f64(LEAST), c.inverse_temperature, c.steps());
    let [to_left, to_right] = &mut c.preference;
    for (place, difference) in c.difference.iter().enumerate() {
        for lane in 0..LANES {
            to_left[place][lane] = sigmoid(difference[lane] * sharpness);
            to_right[place][lane] = sigmoid(-difference[lane] * sharpness);
        }
    }
    let count = c.logits.len();
    c.given.fill([A::ZERO; LANES]);
    c.shares.resize(steps * count, [A::ZERO; LANES]);
    for (step, shares) in c.shares.chunks_exact_mut(count.max(1)).enumerate() {
        let weight = weights(&c.budget, step);
        let mut highest = [A::from_f64(LOWEST); LANES];
        for logits in &c.logits {
            for lane in 0..LANES {
                highest[lane] = highest[lane].max(logits[lane]);
            }
        }
        let mut total = [A::ZERO; LANES];
        for (shares, (logits, exists)) in shares.iter_mut().zip(c.logits.iter().zip(&c.exists)) {
            for lane in 0..LANES {
                let below = (logits[lane] - highest[lane]) * sharpness;
                shares[lane] = below.exp_of_nonpositive() * exists[lane];
                total[lane] += shares[lane];
            }
        }
        // Lanes without a window have no candidates to add up.
        let inverse = total.map(|total| A::ONE / if total == A::ZERO { A::ONE } else { total });
        for (shares, (logits, given)) in shares.iter_mut().zip(c.logits.iter_mut().zip(&mut c.given)) {
            for lane in 0..LANES {
                let share = shares[lane] * inverse[lane];
                shares[lane] = share;
                given[lane] = weight[lane].mul_add(share, given[lane]);
                logits[lane] += (A::ONE - share).max(least).ln_of_positive();
            }
        }
    }
}

/// Turns the gradient of `given` into that of the logits as they were read. `grad_logits` is overwritten.
#[apply(vectorized!)]
fn select_adjoint<A: Accumulator>(
    c: &Candidates<A>,
    grad_given: &[Lanes<A>],
    scratch: &mut [Lanes<A>],
    grad_logits: &mut [Lanes<A>],
) {
    let (least, sharpness) = (A::from_f64(LEAST), c.inverse_temperature);
    grad_logits.fill([A::ZERO; LANES]);
    for (step, shares) in c.shares.chunks_exact(c.logits.len().max(1)).enumerate().rev() {
        let weight = weights(&c.budget, step);
        let mut mean = [A::ZERO; LANES];
        for (place, share) in shares.iter().enumerate() {
            let (given, logits) = (&grad_given[place], &grad_logits[place]);
            let grad_share = &mut scratch[place];
            for lane in 0..LANES {
                let rest = A::ONE - share[lane];
                let of_logarithm = if rest > least { logits[lane] / rest.max(least) } else { A::ZERO };
                let grad = weight[lane] * given[lane] - of_logarithm;
                mean[lane] = grad.mul_add(share[lane], mean[lane]);
                grad_share[lane] = grad;
            }
        }
        for (place, share) in shares.iter().enumerate() {
            let (grad_share, logits) = (&scratch[place], &mut grad_logits[place]);
            for lane in 0..LANES {
                logits[lane] += share[lane] * (grad_share[lane] - mean[lane]) * sharpness;
            }
        }
    }
}

/// Runs `body(sequence, its number, window indices)` over the spans of windows of all sequences.
fn for_each_span_of_windows<A: Accumulator>(
    scores: &[A],
    lengths: &[i64],
    num_merges: &[i64],
    windows: Windows,
    threads: usize,
    body: impl Fn(Sequence<'_, A>, usize, Range<usize>) + Sync,
) {
    let length = windows.length;
    let candidates: Vec<usize> =
        lengths.iter().map(|&real| windows.over(real as usize).candidates()).collect();
    let windows_of_span = SPAN.div_ceil(windows.window);
    parallel::for_each_span(threads, lengths.len(), windows.count(), windows_of_span, |b, indices| {
        let sequence = Sequence {
            scores: &scores[b * length..(b + 1) * length],
            windows: windows.over(lengths[b] as usize),
            num_merges: num_merges[b],
            candidates: candidates[b],
        };
        body(sequence, b, indices);
    });
}

/// The positions of consecutive windows.
fn positions(windows: Windows, indices: &Range<usize>) -> Range<usize> {
    windows.range(indices.start).start..windows.range(indices.end - 1).end
}

/// Cuts `indices` into as many at a time as there are lanes.
fn in_lanes(indices: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = indices.end;
    indices.step_by(LANES).map(move |first| first..(first + LANES).min(end))
}

/// Most candidates of a window.
fn most_candidates(windows: Windows) -> usize {
    windows.window.min(windows.length).div_ceil(2)
}

/// Writes `assignment [B, N, 2]`.
///
/// `lengths` must lie in `[0, N]` and `num_merges` in `[0, candidates]`.
pub fn forward<A: Accumulator>(
    scores: &[A],
    lengths: &[i64],
    num_merges: &[i64],
    settings: Settings,
    threads: usize,
    assignment: &mut [[A; 2]],
) {
    let Settings { windows, temperature } = settings;
    let assignment = Disjoint::new(assignment);
    for_each_span_of_windows(scores, lengths, num_merges, windows, threads, |sequence, b, indices| {
        let mine = positions(windows, &indices);
        let start = b * windows.length;
        // SAFETY: the windows of one call are disjoint.
        let out = unsafe { assignment.part(start + mine.start..start + mine.end) };
        out.fill([A::ZERO; 2]);
        let mut c = Candidates::new(most_candidates(windows), temperature);
        for indices in in_lanes(indices) {
            c.read(sequence, indices.clone());
            select(&mut c);
            for (lane, window) in indices.map(|index| sequence.windows.range(index)).enumerate() {
                if Windows::candidates_of(window.len()) == 0 {
                    continue;
                }
                for (place, candidate) in window.clone().step_by(2).enumerate() {
                    let (has_left, has_right) = edges(&window, candidate);
                    let (given, [to_left, to_right]) = c.choice(place, lane, (has_left, has_right));
                    let out = &mut out[candidate - mine.start];
                    if has_left {
                        out[0] = given * to_left;
                    }
                    if has_right {
                        out[1] = given * to_right;
                    }
                }
            }
        }
    });
}

/// Writes `grad_scores [B, N]` from the gradient of the assignment and the forward's arguments.
pub fn backward<A: Accumulator>(
    grad: &[[A; 2]],
    scores: &[A],
    lengths: &[i64],
    num_merges: &[i64],
    settings: Settings,
    threads: usize,
    grad_scores: &mut [A],
) {
    let Settings { windows, temperature } = settings;
    let grad_scores = Disjoint::new(grad_scores);
    for_each_span_of_windows(scores, lengths, num_merges, windows, threads, |sequence, b, indices| {
        let mine = positions(windows, &indices);
        let start = b * windows.length;
        // SAFETY: the windows of one call are disjoint, and a score belongs to the window of its position.
        let out = unsafe { grad_scores.part(start + mine.start..start + mine.end) };
        out.fill(A::ZERO);
        let most = most_candidates(windows);
        let mut c = Candidates::new(most, temperature);
        let lanes = || vec![[A::ZERO; LANES]; most];
        let (mut grad_given, mut grad_logits, mut scratch) = (lanes(), lanes(), lanes());
        for indices in in_lanes(indices) {
            c.read(sequence, indices.clone());
            select(&mut c);
            grad_given.fill([A::ZERO; LANES]);
            // Every candidate: its lane, place and position, its edges, and the gradients of its assignments.
            let candidates = || {
                let windows = indices.clone().map(|index| sequence.windows.range(index)).enumerate();
                windows.filter(|(_, window)| window.len() > 1).flat_map(|(lane, window)| {
                    let places = window.clone().step_by(2).enumerate();
                    places.map(move |(place, candidate)| {
                        let (has_left, has_right) = edges(&window, candidate);
                        let [left, right] = grad[start + candidate];
                        let left = if has_left { left } else { A::ZERO };
                        let right = if has_right { right } else { A::ZERO };
                        (lane, place, candidate, (has_left, has_right), [left, right])
                    })
                })
            };
            for (lane, place, _, has_edges, [left, right]) in candidates() {
                let (_, [to_left, to_right]) = c.choice(place, lane, has_edges);
                // What is cut off gives no gradient.
                let is_cut = c.given[place][lane] > A::from_f64(MOST);
                grad_given[place][lane] = if is_cut { A::ZERO } else { left * to_left + right * to_right };
            }
            select_adjoint(&c, &grad_given, &mut scratch, &mut grad_logits);
            for (lane, place, candidate, has_edges, [left, right]) in candidates() {
                let (given, [to_left, to_right]) = c.choice(place, lane, has_edges);
                let better = grad_logits[place][lane];
                match has_edges {
                    (true, true) => {
                        let exchanged = given * (left - right) * to_left * to_right * c.inverse_temperature;
                        let difference = c.difference[place][lane];
                        let half = better * A::from_f64(0.5);
                        let is_better = [difference > A::ZERO, difference < A::ZERO];
                        let [left, right] = match is_better {
                            [true, _] => [better, A::ZERO],
                            [_, true] => [A::ZERO, better],
                            _ => [half, half],
                        };
                        out[candidate - 1 - mine.start] = left + exchanged;
                        out[candidate - mine.start] = right - exchanged;
                    }
                    (true, false) => out[candidate - 1 - mine.start] = better,
                    (false, true) => out[candidate - mine.start] = better,
                    (false, false) => {}
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(scores: &[f64], window: usize, num_merges: i64, temperature: f64) -> Vec<[f64; 2]> {
        let mut assignment = vec![[9.0; 2]; scores.len()];
        let windows = Windows { window, shift: 0, length: scores.len() };
        let settings = Settings { windows, temperature };
        forward(scores, &[scores.len() as i64], &[num_merges], settings, 1, &mut assignment);
        assignment
    }

    #[test]
    fn one_candidate_gives_nearly_all_to_its_keeper() {
        assert_eq!(assigned(&[0.5, 0.25], 2, 1, 0.1), [[0.0, MOST], [0.0, 0.0]]);
    }

    #[test]
    fn equal_candidates_share_the_budget() {
        // Candidates 0 and 2 have one better score, and 2 likes both its keepers alike.
        assert_eq!(assigned(&[0.5, 0.5, 0.5, 0.0], 4, 1, 0.1), [[0.0, 0.5], [0.0; 2], [0.25; 2], [0.0; 2]]);
        // A position alone in its window is no candidate: both others give all they can.
        let all = [[0.0, MOST], [0.0; 2], [0.5 * MOST; 2], [0.0; 2], [0.0; 2]];
        assert_eq!(assigned(&[0.5; 5], 4, 2, 0.1), all);
    }

    #[test]
    fn two_steps_by_hand() {
        // τ = 1, scores 0 and ln 3: p = (1/4, 3/4), then odds (3/4) : (3 · 1/4), so halves.
        let [first, _, second, _] = assigned(&[0.0, -50.0, 3.0_f64.ln(), 0.0], 4, 2, 1.0)[..] else {
            unreachable!()
        };
        assert!((first[1] - 0.75).abs() < 1e-12);
        assert!((second[1] - MOST).abs() < 1e-12 && second[0] < 1e-20);
    }
}
