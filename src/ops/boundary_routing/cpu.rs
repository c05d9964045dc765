//! CPU kernel of [`boundary_routing`](super).

use super::{EPSILON, LARGEST_BOUNDARY_COSINE};
use crate::flag::Flag;
use crate::float::{Accumulator, Scalar};
use crate::parallel::{self, Disjoint};
use crate::simd::{dot, vectorized};
use macro_rules_attribute::apply;
use std::ops::Range;

/// Positions handed to a task at once.
const SPAN: usize = 256;

/// One sequence's real positions.
struct Sequence<'a, T> {
    query: &'a [T],
    key: &'a [T],
    is_protected: Option<&'a [Flag]>,
    length: usize,
    channels: usize,
}

/// What a span of positions is told.
struct Decisions<'a, A> {
    probability: &'a mut [A],
    inverse_norms: &'a mut [[A; 2]],
    is_boundary: &'a mut [bool],
    is_forced: &'a mut [bool],
}

#[apply(vectorized!)]
fn decide<T: Scalar>(sequence: &Sequence<'_, T>, span: Range<usize>, out: &mut Decisions<'_, T::Acc>) {
    let channels = sequence.channels;
    let epsilon = T::Acc::from_f64(EPSILON);
    let half = T::Acc::from_f64(0.5);
    let is_protected = |t: usize| sequence.is_protected.is_some_and(|row| row[t].is_set());
    for (place, t) in span.enumerate() {
        let is_real = t < sequence.length;
        let is_forced = is_real && (t == 0 || is_protected(t) || is_protected(t - 1));
        let mut cosine = T::Acc::ONE;
        let mut inverse = [T::Acc::ZERO; 2];
        if is_real && !is_forced {
            let query = &sequence.query[t * channels..(t + 1) * channels];
            let key = &sequence.key[(t - 1) * channels..t * channels];
            let (query_norm, key_norm) = (dot(query, query).sqrt(), dot(key, key).sqrt());
            // Written so that NaN comes through.
            if !(query_norm <= epsilon || key_norm <= epsilon) {
                inverse = [T::Acc::ONE / query_norm, T::Acc::ONE / key_norm];
                cosine = dot(query, key) / (query_norm * key_norm);
                if cosine > T::Acc::ONE {
                    cosine = T::Acc::ONE;
                } else if cosine < -T::Acc::ONE {
                    cosine = -T::Acc::ONE;
                }
            }
        }
        out.probability[place] = if is_forced { T::Acc::ONE } else { half * (T::Acc::ONE - cosine) };
        out.inverse_norms[place] = inverse;
        out.is_boundary[place] = is_forced || cosine.to_f64() <= LARGEST_BOUNDARY_COSINE;
        out.is_forced[place] = is_forced;
    }
}

/// Writes all results; `inverse_norms [B, N, 2]` are `1/‖q_t‖` and `1/‖k_{t−1}‖`, 0 where `p_t` is no
/// function of the vectors. `lengths` must lie in `[0, N]`.
pub fn forward<T: Scalar>(
    query: &[T],
    key: &[T],
    lengths: &[i64],
    is_protected: Option<&[Flag]>,
    positions: usize,
    channels: usize,
    threads: usize,
    probability: &mut [T::Acc],
    inverse_norms: &mut [[T::Acc; 2]],
    is_boundary: &mut [bool],
    is_forced: &mut [bool],
    token_index: &mut [i64],
    num_tokens: &mut [i64],
) {
    {
        let (probability, inverse_norms) = (Disjoint::new(probability), Disjoint::new(inverse_norms));
        let (is_boundary, is_forced) = (Disjoint::new(is_boundary), Disjoint::new(is_forced));
        parallel::for_each_span(threads, lengths.len(), positions, SPAN, |row, span| {
            let elements = row * positions * channels..(row + 1) * positions * channels;
            let sequence = Sequence {
                query: &query[elements.clone()],
                key: &key[elements],
                is_protected: is_protected.map(|all| &all[row * positions..(row + 1) * positions]),
                length: lengths[row] as usize,
                channels,
            };
            let part = row * positions + span.start..row * positions + span.end;
            // SAFETY: the spans of one call are disjoint.
            let mut out = unsafe {
                Decisions {
                    probability: probability.part(part.clone()),
                    inverse_norms: inverse_norms.part(part.clone()),
                    is_boundary: is_boundary.part(part.clone()),
                    is_forced: is_forced.part(part),
                }
            };
            decide(&sequence, span, &mut out);
        });
    }
    let (token_index, num_tokens) = (Disjoint::new(token_index), Disjoint::new(num_tokens));
    parallel::for_each(threads, lengths.len(), |row| {
        let part = row * positions..(row + 1) * positions;
        let length = lengths[row] as usize;
        // SAFETY: each sequence has rows of its own.
        let (index, count) = unsafe { (token_index.part(part.clone()), num_tokens.part(row..row + 1)) };
        let mut token = -1;
        for (entry, &begins) in index.iter_mut().zip(&is_boundary[part]).take(length) {
            token += i64::from(begins);
            *entry = token;
        }
        index[length..].fill(-1);
        count[0] = token + 1;
    });
}

/// `grad_query [S, D]` of the rows of `query [S, D]`, and `grad_key` of the rows of `key`, one position before.
#[apply(vectorized!)]
fn gradients_of<T: Scalar>(
    query: &[T],
    key: &[T],
    channels: usize,
    probability: &[T::Acc],
    inverse_norms: &[[T::Acc; 2]],
    grad_probability: &[T::Acc],
    grad_query: &mut [T],
    grad_key: &mut [T],
) {
    let two = T::Acc::from_f64(2.0);
    let rows = query.chunks_exact(channels).zip(key.chunks_exact(channels));
    let grads = grad_query.chunks_exact_mut(channels).zip(grad_key.chunks_exact_mut(channels));
    for (i, ((query, key), (grad_query, grad_key))) in rows.zip(grads).enumerate() {
        let [query_inverse, key_inverse] = inverse_norms[i];
        if query_inverse == T::Acc::ZERO {
            grad_query.fill(T::store(T::Acc::ZERO));
            grad_key.fill(T::store(T::Acc::ZERO));
            continue;
        }
        // d cos / d q = (k / ‖k‖ − cos · q / ‖q‖) / ‖q‖, and the same with q and k exchanged.
        let cosine = T::Acc::ONE - two * probability[i];
        let grad = T::Acc::from_f64(-0.5) * grad_probability[i];
        let across = grad * query_inverse * key_inverse;
        let query_along = -(grad * cosine * query_inverse * query_inverse);
        let key_along = -(grad * cosine * key_inverse * key_inverse);
        for channel in 0..channels {
            let (q, k) = (query[channel].load(), key[channel].load());
            grad_query[channel] = T::store(across.mul_add(k, query_along * q));
            grad_key[channel] = T::store(across.mul_add(q, key_along * k));
        }
    }
}

/// Writes `grad_query [B, N, D]` and `grad_key [B, N, D]` from what the forward gave.
pub fn backward<T: Scalar>(
    grad_probability: &[T::Acc],
    probability: &[T::Acc],
    inverse_norms: &[[T::Acc; 2]],
    query: &[T],
    key: &[T],
    positions: usize,
    channels: usize,
    threads: usize,
    grad_query: &mut [T],
    grad_key: &mut [T],
) {
    if positions == 0 || channels == 0 {
        return;
    }
    let (grad_query, grad_key) = (Disjoint::new(grad_query), Disjoint::new(grad_key));
    let sequences = probability.len() / positions;
    parallel::for_each_span(threads, sequences, positions, SPAN, |sequence, span| {
        let row = |t: usize| (sequence * positions + t) * channels;
        // The first query and the last key belong to no pair.
        let first = span.start.max(1);
        let pairs = sequence * positions + first..sequence * positions + span.end;
        let (queries, keys) = (row(first)..row(span.end), row(first - 1)..row(span.end) - channels);
        // SAFETY: the spans of one call are disjoint, so are the keys one position before.
        let (of_query, of_key) = unsafe { (grad_query.part(queries.clone()), grad_key.part(keys.clone())) };
        gradients_of(
            &query[queries],
            &key[keys],
            channels,
            &probability[pairs.clone()],
            &inverse_norms[pairs.clone()],
            &grad_probability[pairs],
            of_query,
            of_key,
        );
        if span.start == 0 {
            // SAFETY: the first row, which no pair has written.
            unsafe { grad_query.part(row(0)..row(1)) }.fill(T::store(T::Acc::ZERO));
        }
        if span.end == positions {
            // SAFETY: the last row, which no pair has written.
            unsafe { grad_key.part(row(positions - 1)..row(positions)) }.fill(T::store(T::Acc::ZERO));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: [f32; 10] = [9.0, 9.0, 0.0, 2.0, 1.0, 0.0, 4.0, 0.0, f32::NAN, f32::NAN];
    const KEY: [f32; 10] = [4.0, 0.0, 2.0, 0.0, -8.0, 0.0, 9.0, 9.0, f32::NAN, f32::NAN];

    #[test]
    fn a_right_angle_the_same_and_the_opposite_direction() {
        let (mut p, mut inverse) = ([7.0; 5], [[7.0; 2]; 5]);
        let (mut boundary, mut forced, mut index, mut count) = ([false; 5], [true; 5], [7; 5], [7]);
        forward(
            &QUERY,
            &KEY,
            &[4],
            None,
            5,
            2,
            1,
            &mut p,
            &mut inverse,
            &mut boundary,
            &mut forced,
            &mut index,
            &mut count,
        );
        assert_eq!(p, [1.0, 0.5, 0.0, 1.0, 0.0]);
        assert_eq!(boundary, [true, true, false, true, false]);
        assert_eq!(forced, [true, false, false, false, false]);
        assert_eq!((index, count), ([0, 1, 1, 2, -1], [3]));
        assert_eq!(inverse[..2], [[0.0, 0.0], [0.5, 0.25]]);

        let (mut grad_query, mut grad_key) = ([7.0; 10], [7.0; 10]);
        let grad = [1.0, 8.0, 8.0, 8.0, 1.0];
        backward(&grad, &p, &inverse, &QUERY, &KEY, 5, 2, 1, &mut grad_query, &mut grad_key);
        // −½ · 8 · (k / 4) / 2 and −½ · 8 · (q / 2) / 4; parallel vectors have no gradient.
        assert_eq!(grad_query, [0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(grad_key, [0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_largest_cosine_that_rounds_to_zero() {
        let rounded = |cosine: f64| (cosine * 4096.0).round_ties_even();
        assert_eq!(rounded(LARGEST_BOUNDARY_COSINE), 0.0);
        assert_eq!(rounded(LARGEST_BOUNDARY_COSINE.next_up()), 1.0);
    }
}
