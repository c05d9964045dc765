//! Sequences of rows of channels, and the order in which a recurrence visits them.

use std::ops::Range;

/// `[B, N, D]` elements whose last dimension is contiguous, such as one half of a packed projection.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    elements: &'a [T],
    sequence_stride: usize,
    row_stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `elements` that start `row_stride` apart, of sequences that start `sequence_stride` apart.
    #[must_use]
    pub fn new(elements: &'a [T], sequence_stride: usize, row_stride: usize) -> Self {
        Self { elements, sequence_stride, row_stride }
    }

    /// These channels of one row.
    ///
    /// # Panics
    /// If the row reaches past the elements.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, sequence: usize, position: usize, channels: Range<usize>) -> &'a [T] {
        let start = sequence * self.sequence_stride + position * self.row_stride;
        &self.elements[start + channels.start..start + channels.end]
    }
}

/// The way through one right-padded sequence: its real positions in either direction, then its padding.
#[derive(Clone, Copy)]
pub struct Order {
    /// Real positions.
    pub real: usize,
    /// From the last real position to the first.
    pub reverse: bool,
}

impl Order {
    /// The position that is visited at `step`.
    #[inline(always)]
    #[must_use]
    pub fn position(self, step: usize) -> usize {
        if self.reverse && step < self.real { self.real - 1 - step } else { step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_packed_projection() {
        let packed: Vec<usize> = (0..24).collect();
        let second_half = Rows::new(&packed[3..], 12, 6);
        assert_eq!(second_half.row(0, 0, 0..3), [3, 4, 5]);
        assert_eq!(second_half.row(1, 1, 1..3), [22, 23]);
    }

    #[test]
    fn the_way_back_leaves_padding_last() {
        let way = |reverse| [0, 1, 2, 3, 4].map(|step| Order { real: 3, reverse }.position(step));
        assert_eq!(way(false), [0, 1, 2, 3, 4]);
        assert_eq!(way(true), [2, 1, 0, 3, 4]);
    }
}
