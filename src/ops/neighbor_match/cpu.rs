//! CPU kernel of [`neighbor_match`](super).

use crate::float::Accumulator;
use crate::parallel::{self, Disjoint};
use crate::windows::Windows;

/// Steps of the score grid in 1.0.
const GRID: f64 = 4096.0;
/// Rounded score of NaN and lower bound of all others; cosines lie in ±4096.
const LOWEST: i32 = -8192;

/// One candidate's wish to join a keeper.
#[derive(Clone, Copy)]
struct Proposal {
    candidate: u32,
    score: i32,
    is_left: bool,
    is_accepted: bool,
}

impl Proposal {
    /// Ascending order of this key is the order of acceptance.
    fn key(&self) -> u64 {
        u64::from((-self.score + -LOWEST) as u32) << 32 | u64::from(self.candidate)
    }
}

fn round_score<A: Accumulator>(score: A) -> i32 {
    let scaled = (score.to_f64() * GRID).round_ties_even();
    if scaled.is_nan() { LOWEST } else { (scaled as i32).clamp(LOWEST, -LOWEST) }
}

/// Matches one sequence; `num_merges` must not exceed the windows' candidates.
fn match_sequence<A: Accumulator>(
    scores: &[A],
    windows: Windows,
    num_merges: usize,
    per_window: bool,
    token_index: &mut [i64],
    threshold: &mut [A],
) {
    let mut proposals: Vec<Proposal> = Vec::with_capacity(windows.length / 2 + 1);
    let mut ends: Vec<u32> = Vec::with_capacity(windows.count());
    let guaranteed = if per_window { num_merges / windows.count().max(1) } else { 0 };
    let mut left_over = num_merges;
    let mut best: Vec<u64> = Vec::new();
    for range in (0..windows.count()).map(|index| windows.range(index)) {
        let first = proposals.len();
        if range.len() > 1 {
            for candidate in range.clone().step_by(2) {
                let left = (candidate > range.start).then(|| round_score(scores[candidate - 1]));
                let right = (candidate + 1 < range.end).then(|| round_score(scores[candidate]));
                let is_left = left.is_some() && left >= right;
                let score = if is_left { left } else { right }.unwrap_or(LOWEST);
                proposals.push(Proposal { candidate: candidate as u32, score, is_left, is_accepted: false });
            }
        }
        let here = &mut proposals[first..];
        let accepted = guaranteed.min(here.len());
        accept_best(here, accepted, &mut best);
        left_over -= accepted;
        ends.push(proposals.len() as u32);
    }
    accept_best(&mut proposals, left_over, &mut best);

    let mut first = 0;
    let of_sequence = A::from_f64(midpoint(&proposals));
    for (index, &end) in ends.iter().enumerate() {
        let here = &proposals[first..end as usize];
        threshold[windows.range(index)].fill(if per_window {
            A::from_f64(midpoint(here))
        } else {
            of_sequence
        });
        first = end as usize;
    }
    threshold[windows.length..].fill(A::ZERO);

    // First whether each position continues the token on its left, then the count of those that do not.
    token_index[..windows.length].fill(1);
    token_index[windows.length..].fill(-1);
    for proposal in proposals.iter().filter(|proposal| proposal.is_accepted) {
        token_index[proposal.candidate as usize + usize::from(!proposal.is_left)] = 0;
    }
    let mut token = -1;
    for entry in &mut token_index[..windows.length] {
        token += *entry;
        *entry = token;
    }
}

/// Accepts the best `count` of the proposals that are still open.
fn accept_best(proposals: &mut [Proposal], count: usize, keys: &mut Vec<u64>) {
    if count == 0 {
        return;
    }
    keys.clear();
    keys.extend(proposals.iter().filter(|proposal| !proposal.is_accepted).map(Proposal::key));
    let Some(last) = count.min(keys.len()).checked_sub(1) else { return };
    let (_, &mut cutoff, _) = keys.select_nth_unstable(last);
    for proposal in proposals.iter_mut() {
        proposal.is_accepted |= proposal.key() <= cutoff;
    }
}

fn midpoint(proposals: &[Proposal]) -> f64 {
    let accepted =
        proposals.iter().filter(|proposal| proposal.is_accepted).map(|proposal| proposal.score).min();
    let rejected =
        proposals.iter().filter(|proposal| !proposal.is_accepted).map(|proposal| proposal.score).max();
    match (accepted, rejected) {
        (Some(accepted), Some(rejected)) => f64::from(accepted + rejected) / (2.0 * GRID),
        (Some(only), None) | (None, Some(only)) => f64::from(only) / GRID,
        (None, None) => 0.0,
    }
}

/// Writes `token_index [B, N]` and `threshold [B, N]`.
///
/// `lengths` must lie in `[0, N]` and `num_merges` in `[0, candidates]`; `windows` are those of `N` positions.
pub fn forward<A: Accumulator>(
    scores: &[A],
    lengths: &[i64],
    num_merges: &[i64],
    windows: Windows,
    per_window: bool,
    threads: usize,
    token_index: &mut [i64],
    threshold: &mut [A],
) {
    let length = windows.length;
    let token_index = Disjoint::new(token_index);
    let threshold = Disjoint::new(threshold);
    parallel::for_each(threads, lengths.len(), |sequence| {
        let row = sequence * length..(sequence + 1) * length;
        let windows = windows.over(lengths[sequence] as usize);
        // SAFETY: each sequence has rows of its own.
        let (token_index, threshold) =
            unsafe { (token_index.part(row.clone()), threshold.part(row.clone())) };
        let num_merges = num_merges[sequence] as usize;
        match_sequence(&scores[row], windows, num_merges, per_window, token_index, threshold);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(scores: &[f32], window: usize, num_merges: i64, per_window: bool) -> (Vec<i64>, Vec<f32>) {
        let (mut token_index, mut threshold) = (vec![7; scores.len()], vec![7.0; scores.len()]);
        let lengths = [scores.len() as i64];
        forward(
            scores,
            &lengths,
            &[num_merges],
            Windows { window, shift: 0, length: scores.len() },
            per_window,
            1,
            &mut token_index,
            &mut threshold,
        );
        (token_index, threshold)
    }

    #[test]
    fn both_candidates_of_a_keeper_join_it() {
        // Candidates 0 and 2 both prefer keeper 1: one token of three positions.
        let (token_index, threshold) = matched(&[0.5, 0.75, 0.25, 0.0], 4, 2, false);
        assert_eq!(token_index, [0, 0, 0, 1]);
        assert_eq!(threshold, [0.5; 4]);
    }

    #[test]
    fn a_window_spends_its_own_budget_first() {
        let scores = [0.5, 0.0, 0.25, 9.0, 0.125, 0.0, 0.0625, 0.0];
        assert_eq!(matched(&scores, 4, 2, true).0, [0, 0, 1, 2, 3, 3, 4, 5]);
        assert_eq!(matched(&scores, 4, 2, false).0, [0, 0, 1, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn ties_go_left_and_then_low() {
        assert_eq!(matched(&[0.5; 4], 4, 1, false).0, [0, 0, 1, 2]);
        assert_eq!(matched(&[0.5; 4], 4, 2, false).0, [0, 0, 0, 1]);
    }

    #[test]
    fn a_window_of_one_proposes_nothing() {
        assert_eq!(matched(&[0.5; 5], 4, 2, true).0, [0, 0, 0, 1, 2]);
    }
}
