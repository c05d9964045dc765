//! CPU kernel of [`window_attention`](super).
//!
//! The rows of one head in one window are held as square tiles of 16 positions × 16 channels in the
//! accumulator type, so that every product is a product of tiles of constant size, which the compiler keeps
//! in vector registers. Scores stand as `[key][query]`: a softmax then runs down the rows of a tile, and its
//! sums need no sum across lanes. Channels are tiled half by half, so that a rotation pairs whole tiles.

use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use crate::windows::Windows;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Rows and lanes of a tile.
const SIDE: usize = 16;

/// Rows of a product that are summed at once: the compiler keeps four in registers, but not eight.
const BLOCK: usize = 4;

/// Queries × channels, over all heads, handed to a task at once: about thirty microseconds of work.
const SPAN: usize = 1 << 15;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Tile<A>([[A; SIDE]; SIDE]);

impl<A: Accumulator> Tile<A> {
    const ZERO: Self = Self([[A::ZERO; SIDE]; SIDE]);

    fn zeros(count: usize) -> Vec<Self> {
        vec![Self::ZERO; count]
    }

    /// Sixteen times the same row.
    #[inline(always)]
    fn repeated(row: [A; SIDE]) -> Self {
        Self([row; SIDE])
    }

    /// Each value sixteen times in a row.
    #[inline(always)]
    fn of_rows(values: &[A; SIDE]) -> Self {
        Self(values.map(|value| [value; SIDE]))
    }

    /// The sum of each row.
    #[inline(always)]
    fn row_sums(&self) -> [A; SIDE] {
        let mut sums = [A::ZERO; SIDE];
        for column in &self.transposed().0 {
            for lane in 0..SIDE {
                sums[lane] += column[lane];
            }
        }
        sums
    }

    /// Applies `value` element by element. Over a flat tile the compiler vectorises this; over rows it gathers.
    #[inline(always)]
    fn zip(&mut self, other: &Self, value: impl Fn(A, A) -> A) {
        for (a, &b) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *a = value(*a, b);
        }
    }

    /// `self += a b`, or `aᵀ b`.
    #[inline(always)]
    fn add_product<const TRANSPOSED: bool>(&mut self, a: &Self, b: &Self) {
        let (blocks, _) = self.0.as_chunks_mut::<BLOCK>();
        for (block, rows) in blocks.iter_mut().enumerate() {
            let mut sums = *rows;
            for k in 0..SIDE {
                for (row, sums) in (BLOCK * block..).zip(&mut sums) {
                    let factor = if TRANSPOSED { a.0[k][row] } else { a.0[row][k] };
                    for (sum, &b) in sums.iter_mut().zip(&b.0[k]) {
                        *sum = factor.mul_add(b, *sum);
                    }
                }
            }
            *rows = sums;
        }
    }

    /// The transpose: four times the halves of the tile interleaved, which is `i → 16 i mod 255` in all.
    #[inline(always)]
    fn transposed(&self) -> Self {
        let mut result = *self;
        for _ in 0..SIDE.ilog2() {
            let source = result;
            let (low, high) = source.0.as_flattened().split_at(SIDE * SIDE / 2);
            let (pairs, _) = result.0.as_flattened_mut().as_chunks_mut::<2>();
            for ((pair, &low), &high) in pairs.iter_mut().zip(low).zip(high) {
                *pair = [low, high];
            }
        }
        result
    }
}

/// Turns scores, keys from `keys` on excepted, into probabilities over the keys.
#[inline(always)]
fn softmax<A: Accumulator>(scores: &mut [Tile<A>], keys: usize) {
    scores.iter_mut().flat_map(|tile| &mut tile.0).skip(keys).for_each(|row| *row = [A::NEG_INFINITY; SIDE]);
    let (mut largest, mut sum) = ([A::NEG_INFINITY; SIDE], [A::ZERO; SIDE]);
    for row in scores.iter().flat_map(|tile| &tile.0) {
        for lane in 0..SIDE {
            largest[lane] = row[lane].max(largest[lane]);
        }
    }
    let largest = Tile::repeated(largest);
    for tile in &mut *scores {
        tile.zip(&largest, |score, largest| (score - largest).exp_of_nonpositive());
        for row in &tile.0 {
            for lane in 0..SIDE {
                sum[lane] += row[lane];
            }
        }
    }
    let inverse = Tile::repeated(sum.map(|sum| A::ONE / sum));
    for tile in scores {
        tile.zip(&inverse, |weight, inverse| weight * inverse);
    }
}

/// Turns gradients of probabilities into gradients of scores, `P (dP − Σ P dP)`.
#[inline(always)]
fn softmax_backward<A: Accumulator>(probabilities: &[Tile<A>], grad: &mut [Tile<A>]) {
    let mut mean = [A::ZERO; SIDE];
    for (tile, grad) in probabilities.iter().zip(&*grad) {
        for (row, grad) in tile.0.iter().zip(&grad.0) {
            for lane in 0..SIDE {
                mean[lane] = row[lane].mul_add(grad[lane], mean[lane]);
            }
        }
    }
    let mean = Tile::repeated(mean);
    for (tile, grad) in probabilities.iter().zip(grad) {
        grad.zip(&mean, |grad, mean| grad - mean);
        grad.zip(tile, |grad, probability| grad * probability);
    }
}

/// Turns each channel of the first half with its partner in the second by the angle of its position, and
/// scales both.
#[inline(always)]
fn rotate<A: Accumulator>(rows: &mut [Tile<A>], cos: &[Tile<A>], sin: &[Tile<A>], factor: A, sign: A) {
    let (first, second) = rows.split_at_mut(cos.len());
    for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let values = first.0.as_flattened_mut().iter_mut().zip(second.0.as_flattened_mut());
        for ((x, y), (cos, sin)) in values.zip(cos.0.as_flattened().iter().zip(sin.0.as_flattened())) {
            let (cos, sin) = (*cos * factor, *sin * (factor * sign));
            (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
        }
    }
}

/// The channels in the tile `index` of a row, where each half of the row starts a new tile.
#[inline(always)]
fn channels_of(index: usize, half: usize) -> Range<usize> {
    let tiles = half.div_ceil(SIDE);
    let (start, index) = if index < tiles { (0, index) } else { (half, index - tiles) };
    let first = start + index * SIDE;
    first..(first + SIDE).min(start + half)
}

/// Asks for the cache line of an element that a later window reads: strides like these no prefetcher follows.
#[inline(always)]
fn prefetch<T>(source: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = source.get(index) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch changes no state but the cache's.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(element).cast()) };
    }
}

/// Reads `count` rows, `stride` apart; the other rows become 0.
#[inline(always)]
fn load<S: Copy, A: Accumulator>(
    source: &[S],
    widen: impl Fn(S) -> A,
    stride: usize,
    count: usize,
    half: usize,
    tiles: &mut [Tile<A>],
) {
    for (index, tile) in tiles.iter_mut().enumerate() {
        let channels = channels_of(index, half);
        for (index, row) in tile.0[..count].iter_mut().enumerate() {
            let source = &source[index * stride..];
            prefetch(source, SIDE * stride + channels.start);
            if let Ok(source) = <&[S; SIDE]>::try_from(&source[channels.clone()]) {
                // Computed as a value: written in place, the loop is not vectorised.
                let mut whole = *row;
                for (value, source) in whole.iter_mut().zip(source) {
                    *value = widen(*source);
                }
                *row = whole;
            } else {
                for (value, source) in row.iter_mut().zip(&source[channels.clone()]) {
                    *value = widen(*source);
                }
            }
        }
        tile.0[count..].fill([A::ZERO; SIDE]);
    }
}

/// Writes the first `count` rows, `stride` apart from `first` on; no other task writes their elements.
#[inline(always)]
fn store<T: Scalar>(
    tiles: &[Tile<T::Acc>],
    target: &Disjoint<'_, T>,
    first: usize,
    stride: usize,
    count: usize,
    half: usize,
) {
    let mut rounded = Tile([[T::store(T::Acc::ZERO); SIDE]; SIDE]);
    for (index, tile) in tiles.iter().enumerate() {
        let channels = channels_of(index, half);
        for (rounded, value) in rounded.0.as_flattened_mut().iter_mut().zip(tile.0.as_flattened()) {
            *rounded = T::store(*value);
        }
        for (index, row) in rounded.0[..count].iter().enumerate() {
            let start = first + index * stride;
            // SAFETY: a row of one window and head, which one task has to itself.
            let target = unsafe { target.part(start + channels.start..start + channels.end) };
            if let Ok(target) = <&mut [T; SIDE]>::try_from(&mut *target) {
                *target = *row;
            } else {
                target.copy_from_slice(&row[..channels.len()]);
            }
        }
    }
}

/// Writes 0 to the rows of padding of one head.
fn store_zeros<T: Scalar>(
    target: &Disjoint<'_, T>,
    rows: Range<usize>,
    stride: usize,
    offset: usize,
    width: usize,
) {
    for row in rows {
        let start = row * stride + offset;
        // SAFETY: a row of one window and head, which one task has to itself.
        unsafe { target.part(start..start + width) }.fill(T::store(T::Acc::ZERO));
    }
}

/// What forward and backward read.
pub struct Arguments<'a, T: Scalar> {
    /// `[B, N, 3, H, d]`.
    pub qkv: &'a [T],
    /// `[B or 1, N, d/2]`.
    pub cos: &'a [T::Acc],
    /// `[B or 1, N, d/2]`.
    pub sin: &'a [T::Acc],
    /// `[B]`, each in `[0, N]`.
    pub lengths: &'a [i64],
    /// `[B, N]`.
    pub bias: Option<&'a [T::Acc]>,
    /// Windows of the N positions of a sequence.
    pub windows: Windows,
    /// Heads, H.
    pub heads: usize,
    /// Channels of a head, d, even.
    pub head_dim: usize,
}

/// One window: its first row among those of all sequences and of the angles, its rows, the real ones of them.
struct Window {
    first: usize,
    first_angle: usize,
    rows: usize,
    real: usize,
}

impl Window {
    /// Tiles of real rows.
    fn tiles(&self) -> usize {
        self.real.div_ceil(SIDE)
    }

    /// Rows of padding among those of all sequences.
    fn padding(&self) -> Range<usize> {
        self.first + self.real..self.first + self.rows
    }

    /// Real rows in a tile.
    fn rows_of(&self, tile: usize) -> usize {
        (self.real - tile * SIDE).min(SIDE)
    }
}

impl<T: Scalar> Arguments<'_, T> {
    /// Channels of a position, over all heads.
    fn channels(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Positions of all sequences.
    fn rows(&self) -> usize {
        self.lengths.len() * self.windows.length
    }

    /// Tiles of the longest window from its first to its last row, and across half a head.
    fn tiles(&self) -> (usize, usize) {
        let rows = self.windows.window.min(self.windows.length);
        (rows.div_ceil(SIDE), (self.head_dim / 2).div_ceil(SIDE))
    }

    fn scale(&self) -> T::Acc {
        T::Acc::ONE / T::Acc::from_f64(self.head_dim as f64).sqrt()
    }

    fn locate(&self, index: usize) -> Window {
        let (sequence, index) = (index / self.windows.count(), index % self.windows.count());
        let (range, length) = (self.windows.range(index), self.windows.length);
        let shared_angles = self.cos.len() == length * (self.head_dim / 2);
        Window {
            first: sequence * length + range.start,
            first_angle: range.start + if shared_angles { 0 } else { sequence * length },
            rows: range.len(),
            real: (self.lengths[sequence] as usize).clamp(range.start, range.end) - range.start,
        }
    }

    /// Reads the angles of a window's real rows.
    #[inline(always)]
    fn load_angles(&self, window: &Window, cos: &mut [Tile<T::Acc>], sin: &mut [Tile<T::Acc>]) {
        let (half, across) = (self.head_dim / 2, self.tiles().1);
        for tile in 0..window.tiles() {
            let (here, rows) = (tile * across..(tile + 1) * across, window.rows_of(tile));
            let start = (window.first_angle + tile * SIDE) * half;
            load(&self.cos[start..], |angle| angle, half, rows, half, &mut cos[here.clone()]);
            load(&self.sin[start..], |angle| angle, half, rows, half, &mut sin[here]);
        }
    }

    /// Reads the bias of a window's real rows, where there is one.
    #[inline(always)]
    fn load_bias(&self, window: &Window, tiles: &mut [[T::Acc; SIDE]]) {
        if let Some(bias) = self.bias {
            tiles.as_flattened_mut()[..window.real].copy_from_slice(&bias[window.first..][..window.real]);
        }
    }

    /// Reads queries (`part` 0), keys (1) or values (2) of one tile of rows.
    #[inline(always)]
    fn load_part(&self, window: &Window, tile: usize, head: usize, part: usize, rows: &mut [Tile<T::Acc>]) {
        let (channels, half) = (self.channels(), self.head_dim / 2);
        let start = (3 * (window.first + tile * SIDE) + part) * channels + head * self.head_dim;
        load(&self.qkv[start..], T::load, 3 * channels, window.rows_of(tile), half, rows);
    }
}

#[apply(vectorized!)]
fn forward_windows<T: Scalar>(
    arguments: &Arguments<'_, T>,
    windows: Range<usize>,
    heads: Range<usize>,
    output: &Disjoint<'_, T>,
) {
    let (channels, half, one) = (arguments.channels(), arguments.head_dim / 2, T::Acc::ONE);
    let (down, angles) = arguments.tiles();
    let across = 2 * angles;
    let [mut cos, mut sin] = [(); 2].map(|()| Tile::zeros(down * angles));
    let [mut keys, mut values] = [(); 2].map(|()| Tile::zeros(down * across));
    let [mut query, mut result] = [(); 2].map(|()| Tile::zeros(across));
    let mut scores = Tile::zeros(down);
    let mut bias = vec![[T::Acc::ZERO; SIDE]; down];
    for window in windows.map(|index| arguments.locate(index)) {
        arguments.load_angles(&window, &mut cos, &mut sin);
        arguments.load_bias(&window, &mut bias);
        let tiles = window.tiles();
        for head in heads.clone() {
            let offset = head * arguments.head_dim;
            store_zeros(output, window.padding(), channels, offset, arguments.head_dim);
            for tile in 0..tiles {
                let (here, turn) = (tile * across..(tile + 1) * across, tile * angles..(tile + 1) * angles);
                arguments.load_part(&window, tile, head, 1, &mut keys[here.clone()]);
                arguments.load_part(&window, tile, head, 2, &mut values[here.clone()]);
                rotate(&mut keys[here], &cos[turn.clone()], &sin[turn], one, one);
            }
            for tile in 0..tiles {
                let turn = tile * angles..(tile + 1) * angles;
                arguments.load_part(&window, tile, head, 0, &mut query);
                rotate(&mut query, &cos[turn.clone()], &sin[turn], arguments.scale(), one);
                for query in &mut query {
                    *query = query.transposed();
                }
                for key in 0..tiles {
                    scores[key] = Tile::of_rows(&bias[key]);
                    for (index, query) in query.iter().enumerate() {
                        scores[key].add_product::<false>(&keys[key * across + index], query);
                    }
                }
                softmax(&mut scores[..tiles], window.real);
                result.fill(Tile::ZERO);
                for key in 0..tiles {
                    for (index, result) in result.iter_mut().enumerate() {
                        result.add_product::<true>(&scores[key], &values[key * across + index]);
                    }
                }
                let first = (window.first + tile * SIDE) * channels + offset;
                store(&result, output, first, channels, window.rows_of(tile), half);
            }
        }
    }
}

#[apply(vectorized!)]
fn backward_windows<T: Scalar>(
    arguments: &Arguments<'_, T>,
    grad_output: &[T],
    windows: Range<usize>,
    heads: Range<usize>,
    grad_qkv: &Disjoint<'_, T>,
    grad_bias: Option<&Disjoint<'_, T::Acc>>,
) {
    let (channels, half, one) = (arguments.channels(), arguments.head_dim / 2, T::Acc::ONE);
    let (down, angles) = arguments.tiles();
    let across = 2 * angles;
    let [mut cos, mut sin] = [(); 2].map(|()| Tile::zeros(down * angles));
    let [mut keys, mut values, mut grad_keys, mut grad_values] = [(); 4].map(|()| Tile::zeros(down * across));
    let [mut query, mut query_columns, mut grad_query] = [(); 3].map(|()| Tile::zeros(across));
    let [mut grad, mut grad_columns] = [(); 2].map(|()| Tile::zeros(across));
    let [mut scores, mut grad_scores] = [(); 2].map(|()| Tile::zeros(down));
    let mut bias = vec![[T::Acc::ZERO; SIDE]; down];
    let mut grad_score_sums = Tile::zeros(if grad_bias.is_some() { down } else { 0 });
    for window in windows.map(|index| arguments.locate(index)) {
        arguments.load_angles(&window, &mut cos, &mut sin);
        arguments.load_bias(&window, &mut bias);
        let tiles = window.tiles();
        for head in heads.clone() {
            let offset = head * arguments.head_dim;
            let store_part = |part: usize, tile: usize, rows: &[Tile<T::Acc>]| {
                let first = (3 * (window.first + tile * SIDE) + part) * channels + offset;
                store(rows, grad_qkv, first, 3 * channels, window.rows_of(tile), half);
            };
            for part in 0..3 {
                let offset = part * channels + offset;
                store_zeros(grad_qkv, window.padding(), 3 * channels, offset, arguments.head_dim);
            }
            for tile in 0..tiles {
                let (here, turn) = (tile * across..(tile + 1) * across, tile * angles..(tile + 1) * angles);
                arguments.load_part(&window, tile, head, 1, &mut keys[here.clone()]);
                arguments.load_part(&window, tile, head, 2, &mut values[here.clone()]);
                rotate(&mut keys[here], &cos[turn.clone()], &sin[turn], one, one);
            }
            grad_keys.fill(Tile::ZERO);
            grad_values.fill(Tile::ZERO);
            grad_score_sums.fill(Tile::ZERO);
            for tile in 0..tiles {
                let turn = tile * angles..(tile + 1) * angles;
                arguments.load_part(&window, tile, head, 0, &mut query);
                rotate(&mut query, &cos[turn.clone()], &sin[turn.clone()], arguments.scale(), one);
                let start = (window.first + tile * SIDE) * channels + offset;
                load(&grad_output[start..], T::load, channels, window.rows_of(tile), half, &mut grad);
                for index in 0..across {
                    query_columns[index] = query[index].transposed();
                    grad_columns[index] = grad[index].transposed();
                }
                for key in 0..tiles {
                    (scores[key], grad_scores[key]) = (Tile::of_rows(&bias[key]), Tile::ZERO);
                    for index in 0..across {
                        scores[key].add_product::<false>(&keys[key * across + index], &query_columns[index]);
                        grad_scores[key]
                            .add_product::<false>(&values[key * across + index], &grad_columns[index]);
                    }
                }
                softmax(&mut scores[..tiles], window.real);
                softmax_backward(&scores[..tiles], &mut grad_scores[..tiles]);
                for (sums, grad_scores) in grad_score_sums.iter_mut().zip(&grad_scores[..tiles]) {
                    sums.zip(grad_scores, |sum, grad| sum + grad);
                }
                grad_query.fill(Tile::ZERO);
                for key in 0..tiles {
                    for index in 0..across {
                        let there = key * across + index;
                        grad_values[there].add_product::<false>(&scores[key], &grad[index]);
                        grad_keys[there].add_product::<false>(&grad_scores[key], &query[index]);
                        grad_query[index].add_product::<true>(&grad_scores[key], &keys[there]);
                    }
                }
                rotate(&mut grad_query, &cos[turn.clone()], &sin[turn], arguments.scale(), -one);
                store_part(0, tile, &grad_query);
            }
            for tile in 0..tiles {
                let (here, turn) = (tile * across..(tile + 1) * across, tile * angles..(tile + 1) * angles);
                rotate(&mut grad_keys[here.clone()], &cos[turn.clone()], &sin[turn], one, -one);
                store_part(1, tile, &grad_keys[here.clone()]);
                store_part(2, tile, &grad_values[here]);
            }
            if let Some(grad_bias) = grad_bias {
                let start = head * arguments.rows() + window.first;
                // SAFETY: the positions of one window and head, which one task has to itself.
                let target = unsafe { grad_bias.part(start..start + window.real) };
                for (target, sums) in target.chunks_mut(SIDE).zip(&grad_score_sums) {
                    target.copy_from_slice(&sums.row_sums()[..target.len()]);
                }
            }
        }
    }
}

/// Runs `body` on ranges of windows and heads, together every head of every window once.
fn for_each_range<T: Scalar>(
    arguments: &Arguments<'_, T>,
    threads: usize,
    body: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    if arguments.qkv.is_empty() {
        return;
    }
    let windows = arguments.lengths.len() * arguments.windows.count();
    let span = (SPAN / arguments.channels()).div_ceil(arguments.windows.window).max(1);
    // A few long windows would leave threads idle, many short ones are read in one go.
    let groups = if windows.div_ceil(span) < 4 * threads { arguments.heads } else { 1 };
    parallel::for_each_span(threads, groups, windows, span, |group, range| {
        body(range, group * arguments.heads / groups..(group + 1) * arguments.heads / groups);
    });
}

/// Writes `output [B, N, H, d]`.
pub fn forward<T: Scalar>(arguments: &Arguments<'_, T>, threads: usize, output: &mut [T]) {
    let output = Disjoint::new(output);
    for_each_range(arguments, threads, |windows, heads| forward_windows(arguments, windows, heads, &output));
}

/// Writes `grad_qkv [B, N, 3, H, d]` and, where there is a bias, `grad_bias [B, N]` from the gradient of the
/// output.
pub fn backward<T: Scalar>(
    grad_output: &[T],
    arguments: &Arguments<'_, T>,
    threads: usize,
    grad_qkv: &mut [T],
    grad_bias: &mut [T::Acc],
) {
    let grad_qkv = Disjoint::new(grad_qkv);
    // Heads may be of different tasks, so each has rows of its own: `[H, B, N]`.
    let mut by_head = vec![T::Acc::ZERO; arguments.heads * grad_bias.len()];
    let target = Disjoint::new(&mut by_head);
    let target = arguments.bias.map(|_| &target);
    for_each_range(arguments, threads, |windows, heads| {
        backward_windows(arguments, grad_output, windows, heads, &grad_qkv, target);
    });
    sum_heads(&by_head, threads, grad_bias);
}

/// Sums `[H, rows]` over the heads, the first one first.
fn sum_heads<A: Accumulator>(by_head: &[A], threads: usize, sums: &mut [A]) {
    let (rows, sums) = (sums.len(), Disjoint::new(sums));
    parallel::for_each_span(threads, 1, rows, SPAN, |_, range| {
        // SAFETY: the spans are disjoint.
        let sums = unsafe { sums.part(range.clone()) };
        sums.fill(A::ZERO);
        for head in by_head.chunks_exact(rows) {
            for (sum, &grad) in sums.iter_mut().zip(&head[range.clone()]) {
                *sum += grad;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_window_by_hand() {
        // Scores of both queries over √2 are (0, ln 3) and (0, 0): probabilities (1/4, 3/4) and (1/2, 1/2).
        let score = 3.0_f64.ln() * 2.0_f64.sqrt();
        let qkv = [1.0, 0.0, 0.0, 5.0, 4.0, 0.0, 0.0, 0.0, score, 0.0, 0.0, 8.0];
        let arguments = Arguments {
            qkv: &qkv,
            cos: &[1.0; 2],
            sin: &[0.0; 2],
            lengths: &[2],
            bias: None,
            windows: Windows { window: 16, shift: 0, length: 2 },
            heads: 1,
            head_dim: 2,
        };
        let mut output = [9.0_f64; 4];
        forward(&arguments, 1, &mut output);
        for (got, want) in output.iter().zip([1.0, 6.0, 2.0, 4.0]) {
            assert!((got - want).abs() < 1e-12, "{output:?}");
        }
        let mut grad = [9.0; 12];
        backward(&[1.0, 0.0, 0.0, 0.0], &arguments, 1, &mut grad, &mut []);
        // dP = (4, 0), its mean 1, so dS = (3/4, −3/4); dV = P.
        let (scale, slope) = (0.5_f64.sqrt(), 0.75);
        let want = [
            -slope * scale * score,
            5.0 * slope * scale,
            slope * scale,
            0.0,
            0.25,
            0.0,
            0.0,
            0.0,
            -slope * scale,
            0.0,
            0.75,
            0.0,
        ];
        for (got, want) in grad.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{grad:?}");
        }
    }

    #[test]
    fn bias_by_hand() {
        // Zero queries: the bias (0, ln 3) alone gives both of them probabilities (1/4, 3/4).
        let qkv = [0.0, 0.0, 0.0, 5.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 8.0];
        let arguments = Arguments {
            qkv: &qkv,
            cos: &[1.0; 2],
            sin: &[0.0; 2],
            lengths: &[2],
            bias: Some(&[0.0, 3.0_f64.ln()]),
            windows: Windows { window: 16, shift: 0, length: 2 },
            heads: 1,
            head_dim: 2,
        };
        let mut output = [9.0_f64; 4];
        forward(&arguments, 1, &mut output);
        for (got, want) in output.iter().zip([1.0, 6.0, 1.0, 6.0]) {
            assert!((got - want).abs() < 1e-12, "{output:?}");
        }
        let (mut grad, mut grad_bias) = ([9.0; 12], [9.0_f64; 2]);
        backward(&[1.0, 0.0, 0.0, 1.0], &arguments, 1, &mut grad, &mut grad_bias);
        // dP = (4, 0) and (0, 8), their means 1 and 6, so dS = (3/4, −3/4) and (−3/2, 3/2).
        for (got, want) in grad_bias.iter().zip([-0.75, 0.75]) {
            assert!((got - want).abs() < 1e-12, "{grad_bias:?}");
        }
    }

    #[test]
    fn transposes() {
        let tile = Tile(std::array::from_fn(|row| std::array::from_fn(|lane| (SIDE * row + lane) as f32)));
        let transposed = tile.transposed();
        for (row, lane) in (0..SIDE * SIDE).map(|index| (index / SIDE, index % SIDE)) {
            assert_eq!(transposed.0[row][lane].to_bits(), tile.0[lane][row].to_bits());
        }
    }
}
