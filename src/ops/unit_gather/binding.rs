//! Python entry points of [`unit_gather`](super) and `unit_scatter`.

use super::cpu;
use crate::error::{Error, Result, count};
use crate::float::Scalar;
use crate::ops::token_unmerge::cpu::{sum, unmerge};
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const GATHER: &str = "unit_gather";
const SCATTER: &str = "unit_scatter";

fn positions(op: &'static str, tensor: &PyTensor, rows: usize) -> Result<Input<i64>> {
    let position = Input::<i64>::new(op, "position", tensor, 1)?;
    match position.as_slice().iter().find(|&&row| row < 0 || row >= rows as i64) {
        None => Ok(position),
        Some(row) => Err(Error::value(op, "position", format!("in [0, {rows})"), row.to_string())),
    }
}

fn gather<T: Element + Scalar>(py: Python<'_>, x: &PyTensor, position: &PyTensor) -> Result<PyTensor> {
    let x = Input::<T>::new(GATHER, "x", x, 3)?;
    let &[batch, length, channels] = x.shape() else { unreachable!("rank is checked") };
    let position = positions(GATHER, position, batch * length)?;
    let units = position.as_slice().len();
    let mut out = Output::<T>::new(GATHER, &[units, channels])?;
    let (x, position, out_slice) = (x.as_slice(), position.as_slice(), out.as_mut_slice());
    py.detach(|| unmerge(x, position, units, batch * length, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn gather_backward<T: Element + Scalar>(
    py: Python<'_>,
    grad: &PyTensor,
    position: &PyTensor,
    batch: i64,
    length: i64,
) -> Result<PyTensor> {
    let (batch, length) = (count(GATHER, "batch", batch)?, count(GATHER, "length", length)?);
    let rows = batch.saturating_mul(length);
    let position = positions(GATHER, position, rows)?;
    let units = position.as_slice().len();
    let grad = Input::<T>::new(GATHER, "grad", grad, 2)?;
    let channels = grad.shape()[1];
    let grad = grad.expect_shape(GATHER, "grad", &[units, channels])?;
    let mut out = Output::<T>::new(GATHER, &[batch, length, channels])?;
    let (grad, position, out_slice) = (grad.as_slice(), position.as_slice(), out.as_mut_slice());
    py.detach(|| sum(grad, position, units, rows, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

/// The values, weights and positions of `M` units.
type Units<T> = (Input<T>, Input<<T as Scalar>::Acc>, Input<i64>);

fn units<T: Element + Scalar<Acc: Element>>(
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
    rows: usize,
    channels: usize,
) -> Result<Units<T>> {
    let position = positions(SCATTER, position, rows)?;
    let units = position.as_slice().len();
    let values =
        Input::<T>::new(SCATTER, "values", values, 2)?.expect_shape(SCATTER, "values", &[units, channels])?;
    let weight =
        Input::<T::Acc>::new(SCATTER, "weight", weight, 1)?.expect_shape(SCATTER, "weight", &[units])?;
    Ok((values, weight, position))
}

fn scatter<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    residual: &PyTensor,
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
) -> Result<PyTensor> {
    let residual = Input::<T>::new(SCATTER, "residual", residual, 3)?;
    let &[batch, length, channels] = residual.shape() else { unreachable!("rank is checked") };
    let (values, weight, position) = units::<T>(values, weight, position, batch * length, channels)?;
    if channels == 0 {
        return Ok(Output::<T>::new(SCATTER, &[batch, length, channels])?.into_tensor());
    }
    let unit_of = cpu::invert(position.as_slice(), batch * length)
        .map_err(|row| Error::value(SCATTER, "position", "unique", format!("{row} more than once")))?;
    let mut out = Output::<T>::new(SCATTER, &[batch, length, channels])?;
    let (residual, values, weight) = (residual.as_slice(), values.as_slice(), weight.as_slice());
    let out_slice = out.as_mut_slice();
    py.detach(|| cpu::scatter(residual, values, weight, &unit_of, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn scatter_backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
) -> Result<(PyTensor, PyTensor)> {
    let grad = Input::<T>::new(SCATTER, "grad", grad, 3)?;
    let &[batch, length, channels] = grad.shape() else { unreachable!("rank is checked") };
    let (values, weight, position) = units::<T>(values, weight, position, batch * length, channels)?;
    let count = position.as_slice().len();
    let mut grad_values = Output::<T>::new(SCATTER, &[count, channels])?;
    let mut grad_weight = Output::<T::Acc>::new(SCATTER, &[count])?;
    let (values_out, weight_out) = (grad_values.as_mut_slice(), grad_weight.as_mut_slice());
    let (grad, values, weight) = (grad.as_slice(), values.as_slice(), weight.as_slice());
    let position = position.as_slice();
    let threads = num_threads();
    py.detach(|| {
        cpu::scatter_backward(grad, values, weight, position, channels, threads, values_out, weight_out);
    });
    Ok((grad_values.into_tensor(), grad_weight.into_tensor()))
}

/// `x [B, N, D]`, `position [M]` to `[M, D]`.
#[pyfunction]
pub fn unit_gather_forward(py: Python<'_>, x: PyTensor, position: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(GATHER, "x", x.0.kind(), T => gather::<T>(py, &x, &position))?)
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
    Ok(with_float!(GATHER, "grad", grad.0.kind(), T => {
        gather_backward::<T>(py, &grad, &position, batch, length)
    })?)
}

/// `residual [B, N, D]` plus `weight [M]` times `values [M, D]` at `position [M]`.
#[pyfunction]
pub fn unit_scatter_forward(
    py: Python<'_>,
    residual: PyTensor,
    values: PyTensor,
    weight: PyTensor,
    position: PyTensor,
) -> PyResult<PyTensor> {
    Ok(with_float!(SCATTER, "residual", residual.0.kind(), T => {
        scatter::<T>(py, &residual, &values, &weight, &position)
    })?)
}

/// Gradients of `values` and `weight`.
#[pyfunction]
pub fn unit_scatter_backward(
    py: Python<'_>,
    grad: PyTensor,
    values: PyTensor,
    weight: PyTensor,
    position: PyTensor,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(SCATTER, "grad", grad.0.kind(), T => {
        scatter_backward::<T>(py, &grad, &values, &weight, &position)
    })?)
}
