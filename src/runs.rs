//! Tokens that are contiguous runs of positions, numbered from the left without gaps.

use crate::error::{Error, Result};
use crate::groups::check_token_index;
use std::ops::Range;

/// The runs of one sequence: real positions first, then padding.
pub struct Runs {
    /// Where each run begins, then where the last one ends.
    starts: Vec<usize>,
}

impl Runs {
    /// Reads the token of each position, −1 on padding.
    ///
    /// Fails unless it is `0, …, 0, 1, …` below `max_tokens`, then −1.
    pub fn new(op: &'static str, token_index: &[i64], max_tokens: usize) -> Result<Self> {
        check_token_index(op, token_index, max_tokens)?;
        let length = token_index.iter().position(|&token| token < 0).unwrap_or(token_index.len());
        let mut starts = Vec::new();
        let mut before = -1;
        for (position, &token) in token_index.iter().enumerate() {
            let is_next = position < length && token == before + 1;
            let goes_on = token == before && position > 0 || token < 0 && position >= length;
            if is_next {
                starts.push(position);
            } else if !goes_on {
                let expected = "0, …, 0, 1, …, 1, 2, … from the left and -1 on right padding";
                return Err(Error::value(op, "token_index", expected, format!("{token} after {before}")));
            }
            before = token;
        }
        starts.push(length);
        Ok(Self { starts })
    }

    /// Number of runs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of real positions.
    #[must_use]
    pub fn length(&self) -> usize {
        self.starts[self.count()]
    }

    /// The positions of `token`.
    #[must_use]
    pub fn of(&self, token: usize) -> Range<usize> {
        self.starts[token]..self.starts[token + 1]
    }
}

/// The runs of every sequence of `token_index [B, N]`; none where there are no positions.
pub fn of_batch(
    op: &'static str,
    token_index: &[i64],
    shape: [usize; 2],
    max_tokens: usize,
) -> Result<Vec<Runs>> {
    let [batch, length] = shape;
    if length == 0 {
        // Nothing bounds the sequences of a tensor without elements.
        return Ok(Vec::new());
    }
    (0..batch).map(|row| Runs::new(op, &token_index[row * length..(row + 1) * length], max_tokens)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_padding() -> Result<()> {
        let runs = Runs::new("op", &[0, 0, 1, 2, 2, -1], 3)?;
        let all: Vec<_> = (0..runs.count()).map(|token| runs.of(token)).collect();
        assert_eq!((all, runs.length()), (vec![0..2, 2..3, 3..5], 5));
        for empty in [&[][..], &[-1, -1]] {
            let runs = Runs::new("op", empty, 0)?;
            assert_eq!((runs.count(), runs.length()), (0, 0));
        }
        assert_eq!(of_batch("op", &[0, 1, 0, -1], [2, 2], 2)?.iter().map(Runs::length).sum::<usize>(), 3);
        Ok(())
    }

    #[test]
    fn what_is_no_runs_is_named() {
        let message = |index: &[i64]| {
            Runs::new("op", index, 4).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for (index, got) in [
            (&[1, 2][..], "got 1 after -1"),
            (&[0, 2], "got 2 after 0"),
            (&[0, 1, 0], "got 0 after 1"),
            (&[-1, 0], "got 0 after -1"),
            (&[0, -1, 1], "got 1 after -1"),
            (&[0, 4], "in [-1, 4), got 4"),
        ] {
            assert!(message(index).ends_with(got), "{index:?}: {}", message(index));
        }
    }
}
