//! Python entry points of [`unit_scatter`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::indexed_rows::check_position;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "unit_scatter";

fn positions(tensor: &PyTensor, rows: usize) -> Result<Input<i64, 1>> {
    let position = Input::<i64, 1>::new(OP, "position", tensor)?;
    check_position(OP, position.as_slice(), rows)?;
    Ok(position)
}

/// The values, weights and positions of `M` units.
type Units<T> = (Input<T, 2>, Input<<T as Scalar>::Acc, 1>, Input<i64, 1>);

fn units<T: Element + Scalar<Acc: Element>>(
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
    rows: usize,
    channels: usize,
) -> Result<Units<T>> {
    let position = positions(position, rows)?;
    let units = position.as_slice().len();
    let values = Input::<T, 2>::with_shape(OP, "values", values, [units, channels])?;
    let weight = Input::<T::Acc, 1>::with_shape(OP, "weight", weight, [units])?;
    Ok((values, weight, position))
}

fn forward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    residual: &PyTensor,
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
) -> Result<PyTensor> {
    let residual = Input::<T, 3>::new(OP, "residual", residual)?;
    let [batch, length, channels] = residual.shape();
    let (values, weight, position) = units::<T>(values, weight, position, batch * length, channels)?;
    if channels == 0 {
        return Ok(Output::<T>::new(OP, [batch, length, channels])?.into_tensor());
    }
    let unit_of = cpu::invert(position.as_slice(), batch * length)
        .map_err(|row| Error::value(OP, "position", "unique", format!("{row} more than once")))?;
    let mut out = Output::<T>::new(OP, [batch, length, channels])?;
    let (residual, values, weight) = (residual.as_slice(), values.as_slice(), weight.as_slice());
    let out_slice = out.as_mut_slice();
    py.detach(|| cpu::forward(residual, values, weight, &unit_of, channels, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    values: &PyTensor,
    weight: &PyTensor,
    position: &PyTensor,
) -> Result<(PyTensor, PyTensor)> {
    let grad = Input::<T, 3>::new(OP, "grad", grad)?;
    let [batch, length, channels] = grad.shape();
    let (values, weight, position) = units::<T>(values, weight, position, batch * length, channels)?;
    let count = position.as_slice().len();
    let mut grad_values = Output::<T>::new(OP, [count, channels])?;
    let mut grad_weight = Output::<T::Acc>::new(OP, [count])?;
    let (values_out, weight_out) = (grad_values.as_mut_slice(), grad_weight.as_mut_slice());
    let (grad, values, weight) = (grad.as_slice(), values.as_slice(), weight.as_slice());
    let position = position.as_slice();
    let threads = num_threads();
    py.detach(|| {
        cpu::backward(grad, values, weight, position, channels, threads, values_out, weight_out);
    });
    Ok((grad_values.into_tensor(), grad_weight.into_tensor()))
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
    Ok(with_float!(OP, "residual", residual.0.kind(), T => {
        forward::<T>(py, &residual, &values, &weight, &position)
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
    Ok(with_float!(OP, "grad", grad.0.kind(), T => {
        backward::<T>(py, &grad, &values, &weight, &position)
    })?)
}
