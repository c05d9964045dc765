//! Python entry points of [`swiglu`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "swiglu";

fn forward<T: Element + Scalar>(py: Python<'_>, gate_up: &PyTensor) -> Result<PyTensor> {
    let gate_up = Input::<T, 2>::new(OP, "gate_up", gate_up)?;
    let [rows, doubled] = gate_up.shape();
    if doubled % 2 == 1 {
        return Err(Error::value(OP, "gate_up", "[R, 2 F]", format!("[{rows}, {doubled}]")));
    }
    let mut out = Output::<T>::new(OP, [rows, doubled / 2])?;
    let (gate_up, out_slice) = (gate_up.as_slice(), out.as_mut_slice());
    py.detach(|| cpu::forward(gate_up, doubled / 2, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar>(py: Python<'_>, grad: &PyTensor, gate_up: &PyTensor) -> Result<PyTensor> {
    let grad = Input::<T, 2>::new(OP, "grad", grad)?;
    let [rows, width] = grad.shape();
    let gate_up = Input::<T, 2>::with_shape(OP, "gate_up", gate_up, [rows, 2 * width])?;
    let mut out = Output::<T>::new(OP, gate_up.shape())?;
    let (grad, gate_up, out_slice) = (grad.as_slice(), gate_up.as_slice(), out.as_mut_slice());
    py.detach(|| cpu::backward(grad, gate_up, width, num_threads(), out_slice));
    Ok(out.into_tensor())
}

/// `gate_up [R, 2 F]` to `[R, F]`.
#[pyfunction]
pub fn swiglu_forward(py: Python<'_>, gate_up: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "gate_up", gate_up.0.kind(), T => forward::<T>(py, &gate_up))?)
}

/// Gradient of `gate_up`.
#[pyfunction]
pub fn swiglu_backward(py: Python<'_>, grad: PyTensor, gate_up: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "grad", grad.0.kind(), T => backward::<T>(py, &grad, &gate_up))?)
}
