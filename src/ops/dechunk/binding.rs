//! Python entry points of [`dechunk`](super).

use super::{BackwardGate, cpu};
use crate::error::{Error, Result};
use crate::flag::Flag;
use crate::float::Scalar;
use crate::runs::{Runs, of_batch};
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "dechunk";

/// Checked arguments, alive for the time of a kernel.
struct Inputs<T: Scalar> {
    values: Input<T, 3>,
    probability: Input<T::Acc, 2>,
    is_forced: Input<Flag, 2>,
    token_index: Input<i64, 2>,
    runs: Vec<Runs>,
    backward_gate: BackwardGate,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        values: &PyTensor,
        probability: &PyTensor,
        is_forced: &PyTensor,
        token_index: &PyTensor,
        backward_gate: &str,
    ) -> Result<Self> {
        let backward_gate = match backward_gate {
            "right" => BackwardGate::Right,
            "left" => BackwardGate::Left,
            other => {
                return Err(Error::value(OP, "backward_gate", "'right' or 'left'", format!("{other:?}")));
            }
        };
        let values = Input::<T, 3>::new(OP, "values", values)?;
        let token_index = Input::<i64, 2>::new(OP, "token_index", token_index)?;
        let shape = [values.shape()[0], token_index.shape()[1]];
        let token_index = token_index.expect_shape(OP, "token_index", shape)?;
        let probability = Input::<T::Acc, 2>::with_shape(OP, "boundary_probability", probability, shape)?;
        let is_forced = Input::<Flag, 2>::with_shape(OP, "is_forced", is_forced, shape)?;
        let runs = of_batch(OP, token_index.as_slice(), shape, values.shape()[1])?;
        Ok(Self { values, probability, is_forced, token_index, runs, backward_gate })
    }

    /// `[B, N, D]`.
    fn positions_shape(&self) -> [usize; 3] {
        [self.values.shape()[0], self.token_index.shape()[1], self.values.shape()[2]]
    }

    fn arguments(&self) -> cpu::Arguments<'_, T> {
        let [_, positions, channels] = self.positions_shape();
        cpu::Arguments {
            values: self.values.as_slice(),
            probability: self.probability.as_slice(),
            is_forced: self.is_forced.as_slice(),
            token_index: self.token_index.as_slice(),
            runs: &self.runs,
            positions,
            num_tokens: self.values.shape()[1],
            channels,
            backward_gate: self.backward_gate,
        }
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(py: Python<'_>, inputs: Result<Inputs<T>>) -> Result<PyTensor> {
    let inputs = inputs?;
    let mut out = Output::<T>::new(OP, inputs.positions_shape())?;
    let (arguments, out_slice) = (inputs.arguments(), out.as_mut_slice());
    py.detach(|| cpu::forward(&arguments, num_threads(), out_slice));
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    inputs: Result<Inputs<T>>,
) -> Result<(PyTensor, PyTensor)> {
    let inputs = inputs?;
    let grad = Input::<T, 3>::with_shape(OP, "grad", grad, inputs.positions_shape())?;
    let mut grad_values = Output::<T>::new(OP, inputs.values.shape())?;
    let mut grad_probability = Output::<T::Acc>::new(OP, inputs.probability.shape())?;
    let (arguments, grad) = (inputs.arguments(), grad.as_slice());
    let (values_out, probability_out) = (grad_values.as_mut_slice(), grad_probability.as_mut_slice());
    py.detach(|| cpu::backward(grad, &arguments, num_threads(), values_out, probability_out));
    Ok((grad_values.into_tensor(), grad_probability.into_tensor()))
}

/// `values [B, L, D]` to `[B, N, D]`.
#[pyfunction]
pub fn dechunk_forward(
    py: Python<'_>,
    values: PyTensor,
    boundary_probability: PyTensor,
    is_forced: PyTensor,
    token_index: PyTensor,
    backward_gate: &str,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "values", values.0.kind(), T => {
        forward(py, Inputs::<T>::new(&values, &boundary_probability, &is_forced, &token_index, backward_gate))
    })?)
}

/// Gradients of `values` and `boundary_probability`.
#[pyfunction]
pub fn dechunk_backward(
    py: Python<'_>,
    grad: PyTensor,
    values: PyTensor,
    boundary_probability: PyTensor,
    is_forced: PyTensor,
    token_index: PyTensor,
    backward_gate: &str,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "values", values.0.kind(), T => {
        let inputs =
            Inputs::<T>::new(&values, &boundary_probability, &is_forced, &token_index, backward_gate);
        backward(py, &grad, inputs)
    })?)
}
