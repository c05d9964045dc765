//! Python entry points of [`unit_gather`](super).

use crate::error::{Result, count};
use crate::float::Scalar;
use crate::indexed_rows::{check_position, sum, take};
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "unit_gather";

fn positions(tensor: &PyTensor, rows: usize) -> Result<Input<i64, 1>> {
    let position = Input::<i64, 1>::new(OP, "position", tensor)?;
    check_position(OP, position.as_slice(), rows)?;
    Ok(position)
}

fn forward<T: Element + Scalar>(py: Python<'_>, x: &PyTensor, position: &PyTensor) -> Result<PyTensor> {
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, length, channels] = x.shape();
    let position = positions(position, batch * length)?;
    let units = position.as_slice().len();
    let mut out = Output::<T>::new(OP, [units, channels])?;
    let (x, position, out_slice) = (x.as_slice(), position.as_slice(), out.as_mut_slice());
    py.detach(|| take(x, position, units, batch * length, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar>(
    py: Python<'_>,
    grad: &PyTensor,
    position: &PyTensor,
    batch: i64,
    length: i64,
) -> Result<PyTensor> {
    let (batch, length) = (count(OP, "batch", batch)?, count(OP, "length", length)?);
    let rows = batch.saturating_mul(length);
    let position = positions(position, rows)?;
    let units = position.as_slice().len();
    let grad = Input::<T, 2>::new(OP, "grad", grad)?;
    let channels = grad.shape()[1];
    let grad = grad.expect_shape(OP, "grad", [units, channels])?;
    let mut out = Output::<T>::new(OP, [batch, length, channels])?;
    let (grad, position, out_slice) = (grad.as_slice(), position.as_slice(), out.as_mut_slice());
    py.detach(|| sum(grad, position, units, rows, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

/// `x [B, N, D]`, `position [M]` to `[M, D]`.
#[pyfunction]
pub fn unit_gather_forward(py: Python<'_>, x: PyTensor, position: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &position))?)
}

/// Gradient of `x`, `[batch, length, D]`.
#[pyfunction]
pub fn unit_gather_backward(
    py: Python<'_>,
    grad: PyTensor,
    position: PyTensor,
    batch: i64,
    length: i64,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "grad", grad.0.kind(), T => {
        backward::<T>(py, &grad, &position, batch, length)
    })?)
}
