//! Python entry points of [`token_unmerge`](super) and `token_sum`.

use super::cpu;
use crate::error::{Result, count};
use crate::float::Scalar;
use crate::groups::check_token_index;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

fn unmerge<T: Element + Scalar>(py: Python<'_>, x: &PyTensor, token_index: &PyTensor) -> Result<PyTensor> {
    const OP: &str = "token_unmerge";
    let x = Input::<T>::new(OP, "x", x, 3)?;
    let &[batch, num_tokens, channels] = x.shape() else { unreachable!("rank is checked") };
    let token_index = Input::<i64>::new(OP, "token_index", token_index, 2)?;
    let length = token_index.shape()[1];
    let token_index = token_index.expect_shape(OP, "token_index", &[batch, length])?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let mut out = Output::<T>::new(OP, &[batch, length, channels])?;
    let (x, token_index, out_slice) = (x.as_slice(), token_index.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::unmerge(x, token_index, length, num_tokens, channels, threads, out_slice));
    Ok(out.into_tensor())
}

fn sum<T: Element + Scalar>(
    py: Python<'_>,
    x: &PyTensor,
    token_index: &PyTensor,
    num_tokens: i64,
) -> Result<PyTensor> {
    const OP: &str = "token_sum";
    let num_tokens = count(OP, "num_tokens", num_tokens)?;
    let x = Input::<T>::new(OP, "x", x, 3)?;
    let &[batch, length, channels] = x.shape() else { unreachable!("rank is checked") };
    let token_index = Input::<i64>::new(OP, "token_index", token_index, 2)?.expect_shape(
        OP,
        "token_index",
        &[batch, length],
    )?;
    check_token_index(OP, token_index.as_slice(), num_tokens)?;
    let mut out = Output::<T>::new(OP, &[batch, num_tokens, channels])?;
    let (x, token_index, out_slice) = (x.as_slice(), token_index.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::sum(x, token_index, length, num_tokens, channels, threads, out_slice));
    Ok(out.into_tensor())
}

/// `x [B, L, D]` to `[B, N, D]`.
#[pyfunction]
pub fn token_unmerge_forward(py: Python<'_>, x: PyTensor, token_index: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!("token_unmerge", "x", x.0.kind(), T => unmerge::<T>(py, &x, &token_index))?)
}

/// `x [B, N, D]` to `[B, num_tokens, D]`.
#[pyfunction]
pub fn token_sum_forward(
    py: Python<'_>,
    x: PyTensor,
    token_index: PyTensor,
    num_tokens: i64,
) -> PyResult<PyTensor> {
    Ok(with_float!("token_sum", "x", x.0.kind(), T => sum::<T>(py, &x, &token_index, num_tokens))?)
}
