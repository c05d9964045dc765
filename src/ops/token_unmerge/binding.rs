//! Python entry point of [`token_unmerge`](super).

use crate::error::Result;
use crate::float::Scalar;
use crate::groups::check_token_index;
use crate::indexed_rows::take;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "token_unmerge";

fn forward<T: Element + Scalar>(py: Python<'_>, x: &PyTensor, token_index: &PyTensor) -> Result<PyTensor> {
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, num_tokens, channels] = x.shape();
    let token_index = Input::<i64, 2>::new(OP, "token_index", token_index)?;
    let length = token_index.shape()[1];
    let token_index = token_index.expect_shape(OP, "token_index", [batch, length])?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let mut out = Output::<T>::new(OP, [batch, length, channels])?;
    let (x, token_index, out_slice) = (x.as_slice(), token_index.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| take(x, token_index, length, num_tokens, channels, threads, out_slice));
    Ok(out.into_tensor())
}

/// `x [B, L, D]` to `[B, N, D]`.
#[pyfunction]
pub fn token_unmerge_forward(py: Python<'_>, x: PyTensor, token_index: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &token_index))?)
}
