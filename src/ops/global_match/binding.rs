//! Python entry point of [`global_match`](super).

use super::{cpu, max_merges};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, lengths_of, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "global_match";

fn forward<T: Element + Scalar>(
    py: Python<'_>,
    metric: &PyTensor,
    lengths: &PyTensor,
    num_merges: &PyTensor,
) -> Result<PyTensor> {
    let metric = Input::<T, 3>::new(OP, "metric", metric)?;
    let [batch, length, channels] = metric.shape();
    let lengths = lengths_of(OP, lengths, batch, length)?;
    let num_merges = Input::<i64, 1>::with_shape(OP, "num_merges", num_merges, [batch])?;
    let (lengths, num_merges) = (lengths.as_slice(), num_merges.as_slice());
    for (sequence, (&real, &merges)) in lengths.iter().zip(num_merges).enumerate() {
        let limit = max_merges(real as usize);
        if !(0..=limit as i64).contains(&merges) {
            let expected = format!("in [0, {limit}] for sequence {sequence}");
            return Err(Error::value(OP, "num_merges", expected, merges.to_string()));
        }
    }
    let mut token_index = Output::<i64>::new(OP, [batch, length])?;
    let (metric, token_index_out) = (metric.as_slice(), token_index.as_mut_slice());
    py.detach(|| cpu::forward(metric, channels, lengths, num_merges, num_threads(), token_index_out));
    Ok(token_index.into_tensor())
}

/// `metric [B, L, C]`, `lengths [B]`, `num_merges [B]` to `token_index [B, L]`.
#[pyfunction]
pub fn global_match_forward(
    py: Python<'_>,
    metric: PyTensor,
    lengths: PyTensor,
    num_merges: PyTensor,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "metric", metric.0.kind(), T => forward::<T>(py, &metric, &lengths, &num_merges))?)
}
