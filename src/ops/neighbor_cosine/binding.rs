//! Python entry points of [`neighbor_cosine`](super).

use super::cpu;
use crate::error::Result;
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "neighbor_cosine";

fn forward<T: Element + Scalar<Acc: Element>>(py: Python<'_>, g: &PyTensor) -> Result<(PyTensor, PyTensor)> {
    let g = Input::<T, 3>::new(OP, "grouping", g)?;
    let [batch, length, channels] = g.shape();
    let mut norms = Output::<T::Acc>::new(OP, [batch, length])?;
    let mut cosines = Output::<T::Acc>::new(OP, [batch, length])?;
    let (g, norms_out, cosines_out) = (g.as_slice(), norms.as_mut_slice(), cosines.as_mut_slice());
    py.detach(|| cpu::forward(g, length, channels, num_threads(), norms_out, cosines_out));
    Ok((cosines.into_tensor(), norms.into_tensor()))
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad_cosines: &PyTensor,
    cosines: &PyTensor,
    norms: &PyTensor,
    g: &PyTensor,
) -> Result<PyTensor> {
    let g = Input::<T, 3>::new(OP, "grouping", g)?;
    let [batch, length, channels] = g.shape();
    let shape = [batch, length];
    let cosines = Input::<T::Acc, 2>::with_shape(OP, "scores", cosines, shape)?;
    let norms = Input::<T::Acc, 2>::with_shape(OP, "norms", norms, shape)?;
    let grad_cosines = Input::<T::Acc, 2>::with_shape(OP, "grad_scores", grad_cosines, shape)?;
    let mut grad = Output::<T>::new(OP, [batch, length, channels])?;
    let (g, grad_out) = (g.as_slice(), grad.as_mut_slice());
    let (cosines, norms, grad_cosines) = (cosines.as_slice(), norms.as_slice(), grad_cosines.as_slice());
    py.detach(|| cpu::backward(grad_cosines, cosines, norms, g, length, channels, num_threads(), grad_out));
    Ok(grad.into_tensor())
}

/// `grouping [B, N, G]` to `(scores [B, N], norms [B, N])`.
#[pyfunction]
pub fn neighbor_cosine_forward(py: Python<'_>, grouping: PyTensor) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "grouping", grouping.0.kind(), T => forward::<T>(py, &grouping))?)
}

/// Gradient of `grouping`.
#[pyfunction]
pub fn neighbor_cosine_backward(
    py: Python<'_>,
    grad_scores: PyTensor,
    scores: PyTensor,
    norms: PyTensor,
    grouping: PyTensor,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "grouping", grouping.0.kind(), T => {
        backward::<T>(py, &grad_scores, &scores, &norms, &grouping)
    })?)
}
