//! Windows of a sequence: consecutive groups of positions, the first cut short by a shift, the last by the end.

use crate::error::{Error, Result};
use std::ops::Range;

/// The windows of one sequence of `length` positions.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Positions in a full window, at least 1.
    pub window: usize,
    /// Positions in the first window if not 0, below `window`.
    pub shift: usize,
    /// Positions in the sequence.
    pub length: usize,
}

impl Windows {
    /// Fails unless `window` is at least 1 and `shift` in `[0, window)`.
    pub fn new(op: &'static str, window: i64, shift: i64, length: usize) -> Result<Self> {
        if window < 1 {
            return Err(Error::value(op, "window", "at least 1", window.to_string()));
        }
        if !(0..window).contains(&shift) {
            return Err(Error::value(op, "shift", format!("in [0, {window})"), shift.to_string()));
        }
        Ok(Self { window: window as usize, shift: shift as usize, length })
    }

    /// Windows of the same size and shift over a sequence of another length.
    #[must_use]
    pub fn over(self, length: usize) -> Self {
        Self { length, ..self }
    }

    /// How many windows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let first = self.shift.min(self.length);
        usize::from(first > 0) + (self.length - first).div_ceil(self.window)
    }

    /// The positions of window `index`.
    #[must_use]
    pub fn range(&self, index: usize) -> Range<usize> {
        let (start, end) = if self.shift == 0 {
            (index * self.window, (index + 1) * self.window)
        } else {
            let end = self.shift + index * self.window;
            (end.saturating_sub(self.window), end)
        };
        start.min(self.length)..end.min(self.length)
    }

    /// How many candidates a window of `len` positions has: its 1st, 3rd, …, unless one is alone.
    #[must_use]
    pub fn candidates_of(len: usize) -> usize {
        if len > 1 { len.div_ceil(2) } else { 0 }
    }

    /// How many candidates all windows have: the most merges of neighbours that the sequence can make.
    #[must_use]
    pub fn candidates(&self) -> usize {
        (0..self.count()).map(|index| Self::candidates_of(self.range(index).len())).sum()
    }
}

/// Merges of each of the sequences of `lengths` real positions, each checked to be in `[0, candidates]`.
pub fn check_num_merges(
    op: &'static str,
    num_merges: &[i64],
    lengths: &[i64],
    windows: Windows,
) -> Result<()> {
    for (&real, &merges) in lengths.iter().zip(num_merges) {
        let most = windows.over(real as usize).candidates();
        if !(0..=most as i64).contains(&merges) {
            let expected = format!("in [0, {most}] for {real} positions in windows of {}", windows.window);
            return Err(Error::value(op, "num_merges", expected, merges.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(window: usize, shift: usize, length: usize) -> Vec<Range<usize>> {
        let windows = Windows { window, shift, length };
        (0..windows.count()).map(|index| windows.range(index)).collect()
    }

    #[test]
    fn shifted_and_short_windows() {
        assert_eq!(all(4, 0, 10), [0..4, 4..8, 8..10]);
        assert_eq!(all(4, 2, 10), [0..2, 2..6, 6..10]);
        assert_eq!(all(4, 2, 7), [0..2, 2..6, 6..7]);
        assert_eq!(all(4, 3, 2).as_slice(), std::slice::from_ref(&(0..2)));
        assert!(all(4, 2, 0).is_empty());
    }

    #[test]
    fn a_window_of_one_has_no_candidate() {
        let candidates = |length| Windows { window: 4, shift: 0, length }.candidates();
        assert_eq!([0, 1, 3, 5, 7].map(candidates), [0, 0, 2, 2, 4]);
        let windows = Windows { window: 4, shift: 0, length: 7 };
        assert!(check_num_merges("op", &[4, 0], &[7, 1], windows).is_ok());
        let error = check_num_merges("op", &[4, 1], &[7, 1], windows).unwrap_err().to_string();
        assert_eq!(error, "op: num_merges must be in [0, 0] for 1 positions in windows of 4, got 1");
    }
}
