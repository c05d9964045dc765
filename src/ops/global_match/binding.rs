//! Python entry point of [`global_match`](super).

use super::{cpu, max_merges};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "global_match";

/// The counts of `argument [B]`, each in `[0, limit(sequence)]`.
fn counts(
    argument: &'static str,
    tensor: &PyTensor,
    batch: usize,
    limit: impl Fn(usize) -> usize,
) -> Result<Vec<usize>> {
    let counts = Input::<i64>::new(OP, argument, tensor, 1)?.expect_shape(OP, argument, &[batch])?;
    let check = |(sequence, &count): (usize, &i64)| {
        let limit = limit(sequence);
        usize::try_from(count).ok().filter(|&count| count <= limit).ok_or_else(|| {
            let expected = format!("in [0, {limit}] for sequence {sequence}");
            Error::value(OP, argument, expected, count.to_string())
        })
    };
    counts.as_slice().iter().enumerate().map(check).collect()
}

fn forward<T: Element + Scalar>(
    py: Python<'_>,
    metric: &PyTensor,
    lengths: &PyTensor,
    num_merges: &PyTensor,
) -> Result<PyTensor> {
    let metric = Input::<T>::new(OP, "metric", metric, 3)?;
    let &[batch, length, channels] = metric.shape() else { unreachable!("rank is checked") };
    let lengths = counts("lengths", lengths, batch, |_| length)?;
    let num_merges = counts("num_merges", num_merges, batch, |sequence| max_merges(lengths[sequence]))?;
    let mut token_index = Output::<i64>::new(OP, &[batch, length])?;
    let (metric, token_index_out) = (metric.as_slice(), token_index.as_mut_slice());
    py.detach(|| cpu::forward(metric, channels, &lengths, &num_merges, num_threads(), token_index_out));
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
