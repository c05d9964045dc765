//! Python entry point of [`neighbor_match`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::float::Accumulator;
use crate::tensor::{Element, Input, Output, PyTensor, dtype_name, lengths_of, num_threads};
use crate::windows::{Windows, check_num_merges};
use pyo3::prelude::*;
use tch::Kind;

const OP: &str = "neighbor_match";

fn forward<A: Element + Accumulator>(
    py: Python<'_>,
    scores: &PyTensor,
    lengths: &PyTensor,
    num_merges: &PyTensor,
    window: i64,
    shift: i64,
    per_window: bool,
) -> Result<(PyTensor, PyTensor)> {
    let scores = Input::<A, 2>::new(OP, "scores", scores)?;
    let [batch, length] = scores.shape();
    let windows = Windows::new(OP, window, shift, length)?;
    let lengths = lengths_of(OP, lengths, batch, length)?;
    let num_merges = Input::<i64, 1>::with_shape(OP, "num_merges", num_merges, [batch])?;
    check_num_merges(OP, num_merges.as_slice(), lengths.as_slice(), windows)?;
    let mut token_index = Output::<i64>::new(OP, [batch, length])?;
    let mut threshold = Output::<A>::new(OP, [batch, length])?;
    let (index_out, threshold_out) = (token_index.as_mut_slice(), threshold.as_mut_slice());
    let (scores, lengths, num_merges) = (scores.as_slice(), lengths.as_slice(), num_merges.as_slice());
    let threads = num_threads();
    py.detach(|| {
        cpu::forward(scores, lengths, num_merges, windows, per_window, threads, index_out, threshold_out);
    });
    Ok((token_index.into_tensor(), threshold.into_tensor()))
}

/// `(token_index [B, N], threshold [B, N])`.
#[pyfunction]
pub fn neighbor_match_forward(
    py: Python<'_>,
    scores: PyTensor,
    lengths: PyTensor,
    num_merges: PyTensor,
    window: i64,
    shift: i64,
    budget: &str,
) -> PyResult<(PyTensor, PyTensor)> {
    let per_window = match budget {
        "window" => true,
        "sequence" => false,
        other => {
            return Err(Error::value(OP, "budget", "'window' or 'sequence'", format!("{other:?}")).into());
        }
    };
    Ok(match scores.0.kind() {
        Kind::Float => forward::<f32>(py, &scores, &lengths, &num_merges, window, shift, per_window),
        Kind::Double => forward::<f64>(py, &scores, &lengths, &num_merges, window, shift, per_window),
        other => Err(Error::type_(OP, "scores", "float32 or float64", dtype_name(other))),
    }?)
}
