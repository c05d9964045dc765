//! Which positions make up each token, from the token of each position.

use crate::error::{Error, Result};

/// The positions of every token of one sequence, tokens one after the other, positions ascending in each.
pub struct Groups {
    offsets: Vec<u32>,
    members: Vec<u32>,
}

impl Groups {
    /// Sorts the positions of one sequence by their token; positions with −1 belong to none.
    ///
    /// `token_index` must have passed [`check_token_index`] for this `num_tokens`.
    #[must_use]
    pub fn new(token_index: &[i64], num_tokens: usize) -> Self {
        let mut offsets = vec![0_u32; num_tokens + 2];
        for &token in token_index.iter().filter(|&&token| token >= 0) {
            offsets[token as usize + 2] += 1;
        }
        for token in 0..num_tokens {
            offsets[token + 2] += offsets[token + 1];
        }
        let mut members = vec![0_u32; offsets[num_tokens + 1] as usize];
        for (position, &token) in token_index.iter().enumerate().filter(|&(_, &token)| token >= 0) {
            // One slot behind the final offsets: filling a token moves its start to where it belongs.
            let next = &mut offsets[token as usize + 1];
            members[*next as usize] = position as u32;
            *next += 1;
        }
        offsets.pop();
        Self { offsets, members }
    }

    /// The positions of `token`.
    #[must_use]
    pub fn of(&self, token: usize) -> &[u32] {
        &self.members[self.offsets[token] as usize..self.offsets[token + 1] as usize]
    }
}

/// Fails unless every entry lies in `[-1, num_tokens)`.
pub fn check_token_index(op: &'static str, token_index: &[i64], num_tokens: usize) -> Result<()> {
    let outside = token_index.iter().find(|&&token| token < -1 || token >= num_tokens as i64);
    match outside {
        None => Ok(()),
        Some(token) => {
            Err(Error::value(op, "token_index", format!("in [-1, {num_tokens})"), token.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_strangers_and_padding() {
        let groups = Groups::new(&[2, 0, 0, -1, 2], 4);
        let all: Vec<&[u32]> = (0..4).map(|token| groups.of(token)).collect();
        assert_eq!(all, [&[1, 2][..], &[], &[0, 4], &[]]);
    }

    #[test]
    fn an_index_out_of_range_is_named() {
        let error = check_token_index("op", &[0, 4, -2], 4).unwrap_err();
        assert_eq!(error.to_string(), "op: token_index must be in [-1, 4), got 4");
    }
}
