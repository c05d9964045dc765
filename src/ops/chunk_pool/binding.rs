//! Python entry points of [`chunk_pool`](super).

use super::{Pooling, cpu};
use crate::error::{Error, Result, count};
use crate::float::Scalar;
use crate::runs::of_batch;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "chunk_pool";

fn pooling_of(name: &str) -> Result<Pooling> {
    match name {
        "mean" => Ok(Pooling::Mean),
        "boundary" => Ok(Pooling::Boundary),
        other => Err(Error::value(OP, "pooling", "'mean' or 'boundary'", format!("{other:?}"))),
    }
}

fn forward<T: Element + Scalar>(
    py: Python<'_>,
    x: &PyTensor,
    token_index: &PyTensor,
    max_tokens: i64,
    pooling: &str,
) -> Result<PyTensor> {
    let (max_tokens, pooling) = (count(OP, "max_tokens", max_tokens)?, pooling_of(pooling)?);
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, positions, channels] = x.shape();
    let shape = [batch, positions];
    let token_index = Input::<i64, 2>::with_shape(OP, "token_index", token_index, shape)?;
    let runs = of_batch(OP, token_index.as_slice(), shape, max_tokens)?;
    let mut out = Output::<T>::new(OP, [batch, max_tokens, channels])?;
    let (x, out_slice, threads) = (x.as_slice(), out.as_mut_slice(), num_threads());
    py.detach(|| cpu::forward(x, &runs, positions, max_tokens, channels, pooling, threads, out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar>(
    py: Python<'_>,
    grad: &PyTensor,
    token_index: &PyTensor,
    pooling: &str,
) -> Result<PyTensor> {
    let pooling = pooling_of(pooling)?;
    let grad = Input::<T, 3>::new(OP, "grad", grad)?;
    let [batch, max_tokens, channels] = grad.shape();
    let token_index = Input::<i64, 2>::new(OP, "token_index", token_index)?;
    let shape = [batch, token_index.shape()[1]];
    let token_index = token_index.expect_shape(OP, "token_index", shape)?;
    let (index, positions, threads) = (token_index.as_slice(), shape[1], num_threads());
    let runs = of_batch(OP, index, shape, max_tokens)?;
    let mut grad_x = Output::<T>::new(OP, [batch, positions, channels])?;
    let (grad, out) = (grad.as_slice(), grad_x.as_mut_slice());
    py.detach(|| {
        cpu::backward(grad, &runs, index, positions, max_tokens, channels, pooling, threads, out);
    });
    Ok(grad_x.into_tensor())
}

/// `x [B, N, D]` to `[B, max_tokens, D]`.
#[pyfunction]
pub fn chunk_pool_forward(
    py: Python<'_>,
    x: PyTensor,
    token_index: PyTensor,
    max_tokens: i64,
    pooling: &str,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &token_index, max_tokens, pooling))?)
}

/// Gradient of `x`: `grad [B, L, D]` to `[B, N, D]`.
#[pyfunction]
pub fn chunk_pool_backward(
    py: Python<'_>,
    grad: PyTensor,
    token_index: PyTensor,
    pooling: &str,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "grad", grad.0.kind(), T => backward::<T>(py, &grad, &token_index, pooling))?)
}
