//! CPU kernel of [`causal_conv`](super).

use crate::float::{Accumulator, Scalar, sigmoid};
use crate::parallel::{self, Disjoint};
use crate::rows::{Order, Rows};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::ops::Range;

/// Steps handed to a task at once.
const SPAN: usize = 64;

/// Channels that the backward pass takes through a span at once: its sums stay in the nearest cache.
const TILE: usize = 256;

/// What forward and backward read.
pub struct Arguments<'a, T: Scalar> {
    /// `[B, N, D]`.
    pub x: Rows<'a, T>,
    /// `[D, W]`.
    pub weight: &'a [T::Acc],
    /// `[D]`.
    pub bias: Option<&'a [T::Acc]>,
    /// `[B]`, each in `[0, N]`.
    pub lengths: &'a [i64],
    /// Positions, N.
    pub length: usize,
    /// Channels, D.
    pub channels: usize,
    /// Whether the activation is silu, or none.
    pub silu: bool,
    /// Each position sees those on its right instead.
    pub reverse: bool,
}

/// The steps of one sequence that a task has.
struct Span {
    sequence: usize,
    order: Order,
    steps: Range<usize>,
}

impl Span {
    /// Those that visit real positions.
    fn real(&self) -> Range<usize> {
        self.steps.start.min(self.order.real)..self.steps.end.min(self.order.real)
    }

    /// Those that visit padding.
    fn padding(&self) -> Range<usize> {
        self.steps.start.max(self.order.real)..self.steps.end.max(self.order.real)
    }
}

/// Parameters by tap, which is how rows of channels read them.
struct Taps<A, const W: usize> {
    weight: [Vec<A>; W],
    bias: Vec<A>,
}

impl<A: Accumulator, const W: usize> Taps<A, W> {
    fn new<T: Scalar<Acc = A>>(arguments: &Arguments<'_, T>) -> Self {
        let weight =
            std::array::from_fn(|tap| arguments.weight.iter().skip(tap).step_by(W).copied().collect());
        let bias = arguments.bias.map_or_else(|| vec![A::ZERO; arguments.channels], <[A]>::to_vec);
        Self { weight, bias }
    }
}

impl<T: Scalar> Arguments<'_, T> {
    fn spans(&self) -> usize {
        self.length.div_ceil(SPAN)
    }

    /// Runs `body(index, span)` on every span of every sequence.
    fn for_each_span(&self, threads: usize, body: impl Fn(usize, &Span) + Sync) {
        parallel::for_each(threads, self.lengths.len() * self.spans(), |index| {
            let (sequence, span) = (index / self.spans(), index % self.spans());
            let order = Order { real: self.lengths[sequence] as usize, reverse: self.reverse };
            let steps = span * SPAN..((span + 1) * SPAN).min(self.length);
            body(index, &Span { sequence, order, steps });
        });
    }

    /// Place of a row of a contiguous `[B, N, D]`.
    fn row(&self, span: &Span, step: usize) -> Range<usize> {
        let row = span.sequence * self.length + span.order.position(step);
        row * self.channels..(row + 1) * self.channels
    }

    /// The rows that the taps see from a step; `zeros` before the first.
    #[inline(always)]
    fn seen<'a, const W: usize>(
        &'a self,
        span: &Span,
        step: usize,
        channels: &Range<usize>,
        zeros: &'a [T],
    ) -> [&'a [T]; W] {
        std::array::from_fn(|tap| match (step + tap + 1).checked_sub(W) {
            Some(seen) => self.x.row(span.sequence, span.order.position(seen), channels.clone()),
            None => &zeros[..channels.len()],
        })
    }
}

/// The convolution at one channel.
#[inline(always)]
fn convolved<T: Scalar, const W: usize>(
    rows: [&[T]; W],
    weight: [&[T::Acc]; W],
    bias: &[T::Acc],
    channel: usize,
) -> T::Acc {
    let mut sum = bias[channel];
    for tap in 0..W {
        sum = rows[tap][channel].load().mul_add(weight[tap][channel], sum);
    }
    sum
}

#[apply(vectorized!)]
fn forward_span<T: Scalar, const W: usize>(
    arguments: &Arguments<'_, T>,
    taps: &Taps<T::Acc, W>,
    zeros: &[T],
    span: &Span,
    out: &Disjoint<'_, T>,
) {
    let width = arguments.channels;
    let (weight, bias) = (taps.weight.each_ref().map(|weight| &weight[..width]), &taps.bias[..width]);
    for step in span.real() {
        let rows = arguments.seen::<W>(span, step, &(0..width), zeros).map(|row| &row[..width]);
        // SAFETY: a step of one sequence, which one task has to itself.
        let out = &mut unsafe { out.part(arguments.row(span, step)) }[..width];
        if arguments.silu {
            for (channel, out) in out.iter_mut().enumerate() {
                let sum = convolved(rows, weight, bias, channel);
                *out = T::store(sum * sigmoid(sum));
            }
        } else {
            for (channel, out) in out.iter_mut().enumerate() {
                *out = T::store(convolved(rows, weight, bias, channel));
            }
        }
    }
    clear_padding(arguments, span, out);
}

fn clear_padding<T: Scalar>(arguments: &Arguments<'_, T>, span: &Span, target: &Disjoint<'_, T>) {
    for step in span.padding() {
        // SAFETY: a step of one sequence, which one task has to itself.
        unsafe { target.part(arguments.row(span, step)) }.fill(T::store(T::Acc::ZERO));
    }
}

/// Writes `out [B, N, D]`.
pub fn forward<T: Scalar, const W: usize>(arguments: &Arguments<'_, T>, threads: usize, out: &mut [T]) {
    let (taps, zeros) = (Taps::<T::Acc, W>::new(arguments), vec![T::store(T::Acc::ZERO); arguments.channels]);
    let out = Disjoint::new(out);
    arguments.for_each_span(threads, |_, span| forward_span(arguments, &taps, &zeros, span, &out));
}

/// Gradients of some channels: those of the convolution at a span's steps and the `W − 1` after it, and the
/// span's terms of those of the parameters.
struct Scratch<A, const W: usize> {
    convolution: Vec<[A; TILE]>,
    weight: [[A; TILE]; W],
    bias: [A; TILE],
}

#[apply(vectorized!)]
fn backward_span<T: Scalar, const W: usize>(
    arguments: &Arguments<'_, T>,
    taps: &Taps<T::Acc, W>,
    zeros: &[T],
    grad_out: Rows<'_, T>,
    span: &Span,
    channels: Range<usize>,
    scratch: &mut Scratch<T::Acc, W>,
    grad_x: &Disjoint<'_, T>,
) {
    let width = channels.len();
    let weight = taps.weight.each_ref().map(|weight| &weight[channels.clone()][..width]);
    let bias = &taps.bias[channels.clone()][..width];
    let real = span.real();
    for (step, grads) in (real.start..real.end + W - 1).zip(&mut scratch.convolution) {
        let grads = &mut grads[..width];
        if step >= span.order.real {
            grads.fill(T::Acc::ZERO);
            continue;
        }
        let rows = arguments.seen::<W>(span, step, &channels, zeros).map(|row| &row[..width]);
        let grad = grad_out.row(span.sequence, span.order.position(step), channels.clone());
        let grad = &grad[..width];
        for channel in 0..width {
            grads[channel] = grad[channel].load();
            if arguments.silu {
                let sum = convolved(rows, weight, bias, channel);
                let open = sigmoid(sum);
                // silu' = σ (1 + a (1 − σ))
                grads[channel] = grads[channel] * (open + sum * open * (T::Acc::ONE - open));
            }
        }
        if step < real.end {
            for (sums, row) in scratch.weight.iter_mut().zip(rows) {
                let sums = &mut sums[..width];
                for channel in 0..width {
                    sums[channel] = row[channel].load().mul_add(grads[channel], sums[channel]);
                }
            }
            for (sum, grad) in scratch.bias.iter_mut().zip(grads) {
                *sum += *grad;
            }
        }
    }
    for (index, step) in real.enumerate() {
        let row = arguments.row(span, step).start;
        // SAFETY: a step of one sequence, which one task has to itself.
        let grad_x = unsafe { grad_x.part(row + channels.start..row + channels.end) };
        let grads: [_; W] = std::array::from_fn(|tap| &scratch.convolution[index + W - 1 - tap][..width]);
        for (channel, grad_x) in grad_x.iter_mut().enumerate() {
            let mut sum = T::Acc::ZERO;
            for tap in 0..W {
                sum = grads[tap][channel].mul_add(weight[tap][channel], sum);
            }
            *grad_x = T::store(sum);
        }
    }
}

/// Writes the gradients of `x`, of `weight [D, W]` and, unless it is empty, of `bias [D]` from that of the
/// result, `[B, N, D]`.
pub fn backward<T: Scalar, const W: usize>(
    grad_out: Rows<'_, T>,
    arguments: &Arguments<'_, T>,
    threads: usize,
    grad_x: &mut [T],
    grad_weight: &mut [T::Acc],
    grad_bias: &mut [T::Acc],
) {
    let width = arguments.channels;
    let (taps, zeros) = (Taps::<T::Acc, W>::new(arguments), vec![T::store(T::Acc::ZERO); width]);
    // `[spans, W + 1, D]`: the parameters by tap, the bias last.
    let mut terms = vec![T::Acc::ZERO; arguments.lengths.len() * arguments.spans() * (W + 1) * width];
    {
        let (grad_x, terms) = (Disjoint::new(grad_x), Disjoint::new(&mut terms));
        arguments.for_each_span(threads, |index, span| {
            // SAFETY: spans are disjoint.
            let terms = unsafe { terms.part(index * (W + 1) * width..(index + 1) * (W + 1) * width) };
            let mut convolution = vec![[T::Acc::ZERO; TILE]; SPAN + W - 1];
            for first in (0..width).step_by(TILE) {
                let channels = first..(first + TILE).min(width);
                let mut scratch =
                    Scratch { convolution, weight: [[T::Acc::ZERO; TILE]; W], bias: [T::Acc::ZERO; TILE] };
                backward_span(
                    arguments,
                    &taps,
                    &zeros,
                    grad_out,
                    span,
                    channels.clone(),
                    &mut scratch,
                    &grad_x,
                );
                for (tap, sums) in scratch.weight.iter().chain([&scratch.bias]).enumerate() {
                    terms[tap * width..][channels.clone()].copy_from_slice(&sums[..channels.len()]);
                }
                convolution = scratch.convolution;
            }
            clear_padding(arguments, span, &grad_x);
        });
    }
    let mut sums = vec![T::Acc::ZERO; (W + 1) * width];
    for terms in terms.chunks_exact(sums.len().max(1)) {
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += *term;
        }
    }
    for (place, grad) in grad_weight.iter_mut().enumerate() {
        *grad = sums[place % W * width + place / W];
    }
    for (grad, sum) in grad_bias.iter_mut().zip(&sums[W * width..]) {
        *grad = *sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PADDING: f64 = f64::NAN;
    const X: [f64; 4] = [1.0, 2.0, 5.0, PADDING];

    /// One channel that adds ten times what it saw one step before.
    fn arguments(reverse: bool) -> Arguments<'static, f64> {
        Arguments {
            x: Rows::new(&X, 4, 1),
            weight: &[10.0, 1.0],
            bias: Some(&[100.0]),
            lengths: &[3],
            length: 4,
            channels: 1,
            silu: false,
            reverse,
        }
    }

    #[test]
    fn either_direction() {
        for (reverse, expected) in [(false, [101.0, 112.0, 125.0, 0.0]), (true, [121.0, 152.0, 105.0, 0.0])] {
            let mut out = [9.0; 4];
            forward::<_, 2>(&arguments(reverse), 1, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn gradients() {
        let (mut x, mut weight, mut bias) = ([9.0; 4], [9.0; 2], [9.0; 1]);
        let grad = Rows::new(&[1.0, 2.0, 3.0, PADDING], 4, 1);
        backward::<_, 2>(grad, &arguments(false), 1, &mut x, &mut weight, &mut bias);
        assert_eq!(x, [21.0, 32.0, 3.0, 0.0]);
        // 2 · 1 + 3 · 2 and 1 · 1 + 2 · 2 + 3 · 5
        assert_eq!((weight, bias), ([8.0, 20.0], [6.0]));
    }
}
