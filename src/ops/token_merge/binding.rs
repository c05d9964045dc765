//! Python entry points of [`token_merge`](super).

use super::cpu::{self, Shape, Soft};
use crate::error::{Error, Result, count};
use crate::float::Scalar;
use crate::groups::check_token_index;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::windows::Windows;
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "token_merge";

fn forward<T: Element + Scalar>(
    py: Python<'_>,
    x: &PyTensor,
    sizes: &PyTensor,
    token_index: &PyTensor,
    num_tokens: i64,
) -> Result<(PyTensor, PyTensor)> {
    let num_tokens = count(OP, "num_tokens", num_tokens)?;
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, length, channels] = x.shape();
    let sizes = Input::<i64, 2>::with_shape(OP, "sizes", sizes, [batch, length])?;
    let token_index = Input::<i64, 2>::with_shape(OP, "token_index", token_index, [batch, length])?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let mut merged = Output::<T>::new(OP, [batch, num_tokens, channels])?;
    let mut merged_sizes = Output::<i64>::new(OP, [batch, num_tokens])?;
    let (merged_out, sizes_out) = (merged.as_mut_slice(), merged_sizes.as_mut_slice());
    let (x, sizes, token_index) = (x.as_slice(), sizes.as_slice(), token_index.as_slice());
    let shape = Shape { length, num_tokens, channels };
    let threads = num_threads();
    py.detach(|| cpu::forward(x, sizes, token_index, shape, threads, merged_out, sizes_out));
    Ok((merged.into_tensor(), merged_sizes.into_tensor()))
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad_merged: &PyTensor,
    merged_sizes: &PyTensor,
    x: &PyTensor,
    sizes: &PyTensor,
    token_index: &PyTensor,
    scores: Option<&PyTensor>,
    threshold: Option<&PyTensor>,
    window: i64,
    shift: i64,
    temperature: f64,
) -> Result<(PyTensor, PyTensor)> {
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, length, channels] = x.shape();
    let grad_merged = Input::<T, 3>::new(OP, "grad", grad_merged)?;
    let [_, num_tokens, _] = grad_merged.shape();
    let grad_merged = grad_merged.expect_shape(OP, "grad", [batch, num_tokens, channels])?;
    let positions = |argument, tensor| Input::<i64, 2>::with_shape(OP, argument, tensor, [batch, length]);
    let (sizes, token_index) = (positions("sizes", sizes)?, positions("token_index", token_index)?);
    let merged_sizes = Input::<i64, 2>::with_shape(OP, "merged_sizes", merged_sizes, [batch, num_tokens])?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let shape = Shape { length, num_tokens, channels };
    let threads = num_threads();

    let mut grad_x = Output::<T>::new(OP, [batch, length, channels])?;
    {
        let grad_out = grad_x.as_mut_slice();
        let (grad, sizes, merged_sizes) = (grad_merged.as_slice(), sizes.as_slice(), merged_sizes.as_slice());
        let token_index = token_index.as_slice();
        py.detach(|| cpu::backward_x(grad, merged_sizes, sizes, token_index, shape, threads, grad_out));
    }
    let (Some(scores), Some(threshold)) = (scores, threshold) else {
        return Ok((grad_x.into_tensor(), Output::<T::Acc>::new(OP, [0])?.into_tensor()));
    };
    let windows = Windows::new(OP, window, shift, length)?;
    let of_positions =
        |argument, tensor| Input::<T::Acc, 2>::with_shape(OP, argument, tensor, [batch, length]);
    let (scores, threshold) = (of_positions("scores", scores)?, of_positions("threshold", threshold)?);
    let mut grad_scores = Output::<T::Acc>::new(OP, [batch, length])?;
    let grad_out = grad_scores.as_mut_slice();
    let soft = Soft { scores: scores.as_slice(), threshold: threshold.as_slice(), windows, temperature };
    let (grad, x) = (grad_merged.as_slice(), x.as_slice());
    let (sizes, merged_sizes, token_index) =
        (sizes.as_slice(), merged_sizes.as_slice(), token_index.as_slice());
    if token_index
        .chunks_exact(length.max(1))
        .any(|row| row.iter().rev().skip_while(|&&t| t < 0).any(|&t| t < 0))
    {
        return Err(Error::value(OP, "token_index", "−1 only at the end of a sequence", "−1 before a token"));
    }
    py.detach(|| {
        cpu::backward_scores(grad, merged_sizes, x, sizes, token_index, soft, shape, threads, grad_out);
    });
    Ok((grad_x.into_tensor(), grad_scores.into_tensor()))
}

/// `(merged [B, L, D], merged_sizes [B, L])`; the straight-through arguments matter to the gradient alone.
#[pyfunction]
#[pyo3(signature = (x, sizes, token_index, num_tokens, _scores, _threshold, _window, _shift, _temperature))]
pub fn token_merge_forward(
    py: Python<'_>,
    x: PyTensor,
    sizes: PyTensor,
    token_index: PyTensor,
    num_tokens: i64,
    _scores: Option<PyTensor>,
    _threshold: Option<PyTensor>,
    _window: i64,
    _shift: i64,
    _temperature: f64,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &sizes, &token_index, num_tokens))?)
}

/// `(grad_x [B, N, D], grad_scores [B, N], or [0] without scores)`.
#[pyfunction]
pub fn token_merge_backward(
    py: Python<'_>,
    grad: PyTensor,
    merged_sizes: PyTensor,
    x: PyTensor,
    sizes: PyTensor,
    token_index: PyTensor,
    scores: Option<PyTensor>,
    threshold: Option<PyTensor>,
    window: i64,
    shift: i64,
    temperature: f64,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => backward::<T>(
        py, &grad, &merged_sizes, &x, &sizes, &token_index, scores.as_ref(), threshold.as_ref(),
        window, shift, temperature,
    ))?)
}
