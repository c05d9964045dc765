//! Python entry point of [`basic_units`](super).

use super::cpu::{Score, Shape, Units};
use super::{MAX_SIZE, cpu};
use crate::error::{Error, Result};
use crate::tensor::{Element, Input, Output, PyTensor, dtype_name, num_threads};
use pyo3::prelude::*;
use std::ops::Range;

const OP: &str = "basic_units";

/// `token_index`, `num_tokens`, `token_center`, `token_expert`.
type Decision = (PyTensor, PyTensor, PyTensor, PyTensor);

fn sizes(kernel_sizes: &[i64], experts: usize) -> Result<Vec<u8>> {
    if let Some(wrong) = kernel_sizes.iter().find(|&size| !(1..=MAX_SIZE).contains(size)) {
        let expected = format!("numbers in [1, {MAX_SIZE}]");
        return Err(Error::value(OP, "kernel_sizes", expected, wrong.to_string()));
    }
    if kernel_sizes.len() != experts {
        let expected = format!("one for each of {experts} experts");
        return Err(Error::value(OP, "kernel_sizes", expected, kernel_sizes.len().to_string()));
    }
    Ok(kernel_sizes.iter().map(|&size| size as u8).collect())
}

fn ranges(starts: &PyTensor, ends: &PyTensor, batch: usize, length: usize) -> Result<Vec<Range<usize>>> {
    let bounds = |argument, tensor| Input::<i64, 1>::with_shape(OP, argument, tensor, [batch]);
    let (starts, ends) = (bounds("starts", starts)?, bounds("ends", ends)?);
    let check = |(sequence, (&start, &end)): (usize, (&i64, &i64))| {
        if 0 <= start && start <= end && end <= length as i64 {
            Ok(start as usize..end as usize)
        } else {
            let expected = format!("0 <= start <= end <= {length} for sequence {sequence}");
            Err(Error::value(OP, "starts and ends", expected, format!("{start} and {end}")))
        }
    };
    starts.as_slice().iter().zip(ends.as_slice()).enumerate().map(check).collect()
}

fn forward<S: Element + Score>(
    py: Python<'_>,
    scores: &PyTensor,
    kernel_sizes: &[i64],
    starts: &PyTensor,
    ends: &PyTensor,
) -> Result<Decision> {
    let scores = Input::<S, 3>::new(OP, "scores", scores)?;
    let [batch, length, experts] = scores.shape();
    let sizes = sizes(kernel_sizes, experts)?;
    let ranges = ranges(starts, ends, batch, length)?;
    if length.saturating_mul(experts) > u32::MAX as usize {
        let expected = format!("of at most {} candidates a sequence", u32::MAX);
        return Err(Error::value(OP, "scores", expected, format!("{:?}", scores.shape())));
    }
    let mut token_index = Output::<i64>::new(OP, [batch, length])?;
    let mut num_tokens = Output::<i64>::new(OP, [batch])?;
    let mut token_center = Output::<i64>::new(OP, [batch, length])?;
    let mut token_expert = Output::<i64>::new(OP, [batch, length])?;
    let units = Units {
        token_index: token_index.as_mut_slice(),
        num_tokens: num_tokens.as_mut_slice(),
        token_center: token_center.as_mut_slice(),
        token_expert: token_expert.as_mut_slice(),
    };
    let scores = scores.as_slice();
    let shape = Shape { length, sizes: &sizes, ranges: &ranges };
    py.detach(|| cpu::forward(scores, shape, num_threads(), units));
    Ok((
        token_index.into_tensor(),
        num_tokens.into_tensor(),
        token_center.into_tensor(),
        token_expert.into_tensor(),
    ))
}

/// `scores [B, N, E]` to `(token_index [B, N], num_tokens [B], token_center [B, N], token_expert [B, N])`.
#[pyfunction]
pub fn basic_units_forward(
    py: Python<'_>,
    scores: PyTensor,
    kernel_sizes: Vec<i64>,
    starts: PyTensor,
    ends: PyTensor,
) -> PyResult<Decision> {
    let decision = match scores.0.kind() {
        tch::Kind::Float => forward::<f32>(py, &scores, &kernel_sizes, &starts, &ends),
        tch::Kind::Double => forward::<f64>(py, &scores, &kernel_sizes, &starts, &ends),
        other => Err(Error::type_(OP, "scores", "float32 or float64", dtype_name(other))),
    };
    Ok(decision?)
}
