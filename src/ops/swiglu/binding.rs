//! Python entry points of [`swiglu`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "swiglu";

fn width_of<T: Element>(gate_up: &Input<T>) -> Result<(usize, usize)> {
    let &[rows, doubled] = gate_up.shape() else { unreachable!("rank is checked") };
    if doubled % 2 == 1 {
        return Err(Error::value(OP, "gate_up", "[R, 2 F]", format!("[{rows}, {doubled}]")));
    }
    Ok((rows, doubled / 2))
}

fn forward<T: Element + Scalar>(py: Python<'_>, gate_up: &PyTensor) -> Result<PyTensor> {
    let gate_up = Input::<T>::new(OP, "gate_up", gate_up, 2)?;
    let (rows, width) = width_of(&gate_up)?;
    let mut out = Output::<T>::new(OP, &[rows, width])?;
    let (gate_up, out_slice, threads) = (gate_up.as_slice(), out.as_mut_slice(), num_threads());
    py.detach(|| cpu::forward(gate_up, width, threads, out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar>(py: Python<'_>, gate_up: &PyTensor, grad: &PyTensor) -> Result<PyTensor> {
    let gate_up = Input::<T>::new(OP, "gate_up", gate_up, 2)?;
    let (rows, width) = width_of(&gate_up)?;
    let grad = Input::<T>::new(OP, "grad", grad, 2)?.expect_shape(OP, "grad", &[rows, width])?;
    let mut out = Output::<T>::new(OP, &[rows, 2 * width])?;
    let (gate_up, grad, out_slice) = (gate_up.as_slice(), grad.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::backward(gate_up, grad, width, threads, out_slice));
    Ok(out.into_tensor())
}

/// `gate_up [R, 2 F]` to `[R, F]`.
#[pyfunction]
pub fn swiglu_forward(py: Python<'_>, gate_up: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "gate_up", gate_up.0.kind(), T => forward::<T>(py, &gate_up))?)
}

/// Gradient of `gate_up`.
#[pyfunction]
pub fn swiglu_backward(py: Python<'_>, gate_up: PyTensor, grad: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "gate_up", gate_up.0.kind(), T => backward::<T>(py, &gate_up, &grad))?)
}
