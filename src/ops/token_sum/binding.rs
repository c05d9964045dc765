//! Python entry point of [`token_sum`](super).

use crate::error::{Result, count};
use crate::float::Scalar;
use crate::groups::check_token_index;
use crate::indexed_rows::sum;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "token_sum";

fn forward<T: Element + Scalar>(
    py: Python<'_>,
    x: &PyTensor,
    token_index: &PyTensor,
    num_tokens: i64,
) -> Result<PyTensor> {
    let num_tokens = count(OP, "num_tokens", num_tokens)?;
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, length, channels] = x.shape();
    let token_index = Input::<i64, 2>::with_shape(OP, "token_index", token_index, [batch, length])?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let mut out = Output::<T>::new(OP, [batch, num_tokens, channels])?;
    let (x, token_index, out_slice) = (x.as_slice(), token_index.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| sum(x, token_index, length, num_tokens, channels, threads, out_slice));
    Ok(out.into_tensor())
}

/// `x [B, N, D]` to `[B, num_tokens, D]`.
#[pyfunction]
pub fn token_sum_forward(
    py: Python<'_>,
    x: PyTensor,
    token_index: PyTensor,
    num_tokens: i64,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &token_index, num_tokens))?)
}
