//! Python entry points of [`rotary`](super).

use super::cpu::{self, Shape};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "rotary";

fn turn<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    qkv: &PyTensor,
    cos: &PyTensor,
    sin: &PyTensor,
    inverse: bool,
) -> Result<PyTensor> {
    let qkv = Input::<T, 5>::new(OP, "qkv", qkv)?;
    let [batch, length, packed, heads, channels] = qkv.shape();
    if packed != 3 || channels % 2 == 1 {
        return Err(Error::value(OP, "qkv", "[B, L, 3, H, d] with an even d", format!("{:?}", qkv.shape())));
    }
    let cos = Input::<T::Acc, 3>::new(OP, "cos", cos)?;
    let angles = [if cos.shape()[0] == 1 { 1 } else { batch }, length, channels / 2];
    let cos = cos.expect_shape(OP, "cos", angles)?;
    let sin = Input::<T::Acc, 3>::with_shape(OP, "sin", sin, angles)?;
    let mut out = Output::<T>::new(OP, qkv.shape())?;
    let shape = Shape { batch, length, heads, half: channels / 2 };
    let (qkv, cos, sin, out_slice) = (qkv.as_slice(), cos.as_slice(), sin.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::forward(qkv, cos, sin, shape, inverse, threads, out_slice));
    Ok(out.into_tensor())
}

/// `qkv [B, L, 3, H, d]`, queries and keys turned.
#[pyfunction]
pub fn rotary_forward(py: Python<'_>, qkv: PyTensor, cos: PyTensor, sin: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "qkv", qkv.0.kind(), T => turn::<T>(py, &qkv, &cos, &sin, false))?)
}

/// Gradient of `qkv`.
#[pyfunction]
pub fn rotary_backward(py: Python<'_>, grad: PyTensor, cos: PyTensor, sin: PyTensor) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "grad", grad.0.kind(), T => turn::<T>(py, &grad, &cos, &sin, true))?)
}
