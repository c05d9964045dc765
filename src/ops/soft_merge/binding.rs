//! Python entry points of [`soft_merge`](super).

use super::cpu::{self, Arguments, Shape, Stays};
use crate::error::{Result, count};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, num_threads};
use crate::windows::Windows;
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "soft_merge";

/// The checked arguments of both passes.
struct Inputs<T: Scalar> {
    x: Input<T, 3>,
    mass: Input<T::Acc, 2>,
    assignment: Input<T::Acc, 3>,
    token_index: Input<i64, 2>,
    stays: Stays,
    shape: Shape,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        x: &PyTensor,
        mass: &PyTensor,
        assignment: &PyTensor,
        token_index: &PyTensor,
        num_tokens: usize,
        window: i64,
        shift: i64,
    ) -> Result<Self> {
        let x = Input::<T, 3>::new(OP, "x", x)?;
        let [batch, length, channels] = x.shape();
        let mass = Input::<T::Acc, 2>::with_shape(OP, "mass", mass, [batch, length])?;
        let assignment = Input::<T::Acc, 3>::with_shape(OP, "assignment", assignment, [batch, length, 2])?;
        let token_index = Input::<i64, 2>::with_shape(OP, "token_index", token_index, [batch, length])?;
        let windows = Windows::new(OP, window, shift, length)?;
        let stays = Stays::new(OP, token_index.as_slice(), windows, num_tokens)?;
        let shape = Shape { length, num_tokens, channels };
        Ok(Self { x, mass, assignment, token_index, stays, shape })
    }

    fn as_arguments(&self) -> Arguments<'_, T> {
        Arguments {
            x: self.x.as_slice(),
            mass: self.mass.as_slice(),
            assignment: self.assignment.as_slice().as_chunks().0,
            stays: &self.stays,
            shape: self.shape,
        }
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    x: &PyTensor,
    mass: &PyTensor,
    assignment: &PyTensor,
    token_index: &PyTensor,
    num_tokens: i64,
    window: i64,
    shift: i64,
) -> Result<(PyTensor, PyTensor)> {
    let num_tokens = count(OP, "num_tokens", num_tokens)?;
    let inputs = Inputs::<T>::new(x, mass, assignment, token_index, num_tokens, window, shift)?;
    let [batch, _, channels] = inputs.x.shape();
    let mut merged = Output::<T>::new(OP, [batch, num_tokens, channels])?;
    let mut merged_mass = Output::<T::Acc>::new(OP, [batch, num_tokens])?;
    let (merged_out, mass_out) = (merged.as_mut_slice(), merged_mass.as_mut_slice());
    let (arguments, threads) = (inputs.as_arguments(), num_threads());
    py.detach(|| cpu::forward(arguments, threads, merged_out, mass_out));
    Ok((merged.into_tensor(), merged_mass.into_tensor()))
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    grad_mass: &PyTensor,
    x: &PyTensor,
    mass: &PyTensor,
    assignment: &PyTensor,
    token_index: &PyTensor,
    window: i64,
    shift: i64,
) -> Result<(PyTensor, PyTensor, PyTensor)> {
    let grad = Input::<T, 3>::new(OP, "grad", grad)?;
    let [_, num_tokens, _] = grad.shape();
    let inputs = Inputs::<T>::new(x, mass, assignment, token_index, num_tokens, window, shift)?;
    let [batch, length, channels] = inputs.x.shape();
    let grad = grad.expect_shape(OP, "grad", [batch, num_tokens, channels])?;
    let grad_mass = Input::<T::Acc, 2>::with_shape(OP, "grad_mass", grad_mass, [batch, num_tokens])?;
    let mut grad_x = Output::<T>::new(OP, [batch, length, channels])?;
    let mut grad_of_mass = Output::<T::Acc>::new(OP, [batch, length])?;
    let mut grad_assignment = Output::<T::Acc>::new(OP, [batch, length, 2])?;
    let (x_out, mass_out) = (grad_x.as_mut_slice(), grad_of_mass.as_mut_slice());
    let assignment_out = grad_assignment.as_mut_slice().as_chunks_mut().0;
    let (grad, grad_mass) = (grad.as_slice(), grad_mass.as_slice());
    let (arguments, token_index) = (inputs.as_arguments(), inputs.token_index.as_slice());
    let threads = num_threads();
    py.detach(|| {
        cpu::backward(grad, grad_mass, arguments, token_index, threads, x_out, mass_out, assignment_out);
    });
    Ok((grad_x.into_tensor(), grad_of_mass.into_tensor(), grad_assignment.into_tensor()))
}

/// `(merged [B, L, D], merged_mass [B, L])`.
#[pyfunction]
pub fn soft_merge_forward(
    py: Python<'_>,
    x: PyTensor,
    mass: PyTensor,
    assignment: PyTensor,
    token_index: PyTensor,
    num_tokens: i64,
    window: i64,
    shift: i64,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        forward::<T>(py, &x, &mass, &assignment, &token_index, num_tokens, window, shift)
    })?)
}

/// `(grad_x [B, N, D], grad_of_mass [B, N], grad_assignment [B, N, 2])`.
#[pyfunction]
pub fn soft_merge_backward(
    py: Python<'_>,
    grad: PyTensor,
    grad_mass: PyTensor,
    x: PyTensor,
    mass: PyTensor,
    assignment: PyTensor,
    token_index: PyTensor,
    window: i64,
    shift: i64,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        backward::<T>(py, &grad, &grad_mass, &x, &mass, &assignment, &token_index, window, shift)
    })?)
}
