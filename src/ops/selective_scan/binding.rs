//! Python entry points of [`selective_scan`](super).

use super::BLOCK;
use super::cpu::{self, Arguments, Gradients};
use crate::error::{Error, Result};
use crate::float::{Accumulator, Scalar};
use crate::tensor::{Element, Input, Output, PyTensor, RowsInput, lengths_of, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "selective_scan";

/// The checked arguments that forward and backward share.
struct Inputs<T: Scalar> {
    x: RowsInput<T>,
    delta: RowsInput<T>,
    state_matrix: Input<T::Acc, 2>,
    input_matrix: RowsInput<T>,
    output_matrix: RowsInput<T>,
    skip: Input<T::Acc, 1>,
    gate: Option<RowsInput<T>>,
    delta_bias: Option<Input<T::Acc, 1>>,
    lengths: Input<i64, 1>,
    reverse: bool,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        x: &PyTensor,
        delta: &PyTensor,
        state_matrix: &PyTensor,
        input_matrix: &PyTensor,
        output_matrix: &PyTensor,
        skip: &PyTensor,
        gate: Option<&PyTensor>,
        delta_bias: Option<&PyTensor>,
        lengths: &PyTensor,
        reverse: bool,
    ) -> Result<Self> {
        let x = RowsInput::<T>::new(OP, "x", x)?;
        let [batch, length, channels] = x.shape();
        let like_x = |argument: &'static str, tensor: &PyTensor| {
            RowsInput::<T>::with_shape(OP, argument, tensor, x.shape())
        };
        let by_channel = |argument: &'static str, tensor: &PyTensor| {
            Input::<T::Acc, 1>::with_shape(OP, argument, tensor, [channels])
        };
        let delta = like_x("delta", delta)?;
        let gate = gate.map(|gate| like_x("gate", gate)).transpose()?;
        let skip = by_channel("skip", skip)?;
        let delta_bias = delta_bias.map(|bias| by_channel("delta_bias", bias)).transpose()?;
        let state_matrix = Input::<T::Acc, 2>::new(OP, "state_matrix", state_matrix)?;
        let state_size = state_matrix.shape()[1];
        let state_matrix = state_matrix.expect_shape(OP, "state_matrix", [channels, state_size])?;
        if let Some(wrong) = state_matrix.as_slice().iter().find(|&&rate| rate > T::Acc::ZERO) {
            return Err(Error::value(OP, "state_matrix", "at most 0", wrong.to_f64().to_string()));
        }
        let by_position = |argument: &'static str, tensor: &PyTensor| {
            RowsInput::<T>::with_shape(OP, argument, tensor, [batch, length, state_size])
        };
        let input_matrix = by_position("input_matrix", input_matrix)?;
        let output_matrix = by_position("output_matrix", output_matrix)?;
        let lengths = lengths_of(OP, lengths, batch, length)?;
        Ok(Self {
            x,
            delta,
            state_matrix,
            input_matrix,
            output_matrix,
            skip,
            gate,
            delta_bias,
            lengths,
            reverse,
        })
    }

    fn arguments(&self) -> Arguments<'_, T> {
        Arguments {
            x: self.x.as_rows(),
            delta: self.delta.as_rows(),
            state_matrix: self.state_matrix.as_slice(),
            input_matrix: self.input_matrix.as_rows(),
            output_matrix: self.output_matrix.as_rows(),
            skip: self.skip.as_slice(),
            gate: self.gate.as_ref().map(RowsInput::as_rows),
            delta_bias: self.delta_bias.as_ref().map(Input::as_slice),
            lengths: self.lengths.as_slice(),
            length: self.x.shape()[1],
            state_size: self.state_size(),
            reverse: self.reverse,
        }
    }

    fn state_size(&self) -> usize {
        self.state_matrix.shape()[1]
    }

    /// Of the states that the forward pass stores.
    fn states_shape(&self) -> [usize; 4] {
        let [batch, length, channels] = self.x.shape();
        [batch, length.div_ceil(BLOCK), self.state_size(), channels]
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    inputs: &Inputs<T>,
) -> Result<(PyTensor, PyTensor)> {
    let mut out = Output::<T>::new(OP, inputs.x.shape())?;
    let mut states = Output::<T::Acc>::new(OP, inputs.states_shape())?;
    let (arguments, threads) = (inputs.arguments(), num_threads());
    let (out_slice, states_slice) = (out.as_mut_slice(), states.as_mut_slice());
    py.detach(|| cpu::forward(&arguments, threads, out_slice, states_slice));
    Ok((out.into_tensor(), states.into_tensor()))
}

/// Gradients in the order of the arguments.
type GradientTensors = (PyTensor, PyTensor, PyTensor, PyTensor, PyTensor, PyTensor, PyTensor, PyTensor);

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    states: &PyTensor,
    inputs: &Inputs<T>,
) -> Result<GradientTensors> {
    let shape @ [batch, length, channels] = inputs.x.shape();
    let grad = RowsInput::<T>::with_shape(OP, "grad", grad, shape)?;
    let states = Input::<T::Acc, 4>::with_shape(OP, "states", states, inputs.states_shape())?;
    let matrix_shape = [batch, length, inputs.state_size()];
    let mut x = Output::<T>::new(OP, shape)?;
    let mut delta = Output::<T>::new(OP, shape)?;
    let mut state_matrix = Output::<T::Acc>::new(OP, inputs.state_matrix.shape())?;
    let mut input_matrix = Output::<T>::new(OP, matrix_shape)?;
    let mut output_matrix = Output::<T>::new(OP, matrix_shape)?;
    let mut skip = Output::<T::Acc>::new(OP, [channels])?;
    let mut gate = Output::<T>::new(OP, inputs.gate.as_ref().map_or([0; 3], RowsInput::shape))?;
    let mut delta_bias = Output::<T::Acc>::new(OP, [inputs.delta_bias.as_ref().map_or(0, |_| channels)])?;
    let gradients = Gradients {
        x: x.as_mut_slice(),
        delta: delta.as_mut_slice(),
        state_matrix: state_matrix.as_mut_slice(),
        input_matrix: input_matrix.as_mut_slice(),
        output_matrix: output_matrix.as_mut_slice(),
        skip: skip.as_mut_slice(),
        gate: gate.as_mut_slice(),
        delta_bias: delta_bias.as_mut_slice(),
    };
    let (arguments, grad, states, threads) =
        (inputs.arguments(), grad.as_rows(), states.as_slice(), num_threads());
    py.detach(|| cpu::backward(grad, states, &arguments, threads, gradients));
    Ok((
        x.into_tensor(),
        delta.into_tensor(),
        state_matrix.into_tensor(),
        input_matrix.into_tensor(),
        output_matrix.into_tensor(),
        skip.into_tensor(),
        gate.into_tensor(),
        delta_bias.into_tensor(),
    ))
}

/// `x [B, N, D]` to `(out [B, N, D], states [B, ⌈N / BLOCK⌉, S, D])`.
#[pyfunction]
pub fn selective_scan_forward(
    py: Python<'_>,
    x: PyTensor,
    delta: PyTensor,
    state_matrix: PyTensor,
    input_matrix: PyTensor,
    output_matrix: PyTensor,
    skip: PyTensor,
    gate: Option<PyTensor>,
    delta_bias: Option<PyTensor>,
    lengths: PyTensor,
    reverse: bool,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(
            &x,
            &delta,
            &state_matrix,
            &input_matrix,
            &output_matrix,
            &skip,
            gate.as_ref(),
            delta_bias.as_ref(),
            &lengths,
            reverse,
        )
        .and_then(|inputs| forward(py, &inputs))
    })?)
}

/// Gradients of `x` to `delta_bias`; those of a gate or a bias that is not there are empty.
#[pyfunction]
pub fn selective_scan_backward(
    py: Python<'_>,
    grad: PyTensor,
    states: PyTensor,
    x: PyTensor,
    delta: PyTensor,
    state_matrix: PyTensor,
    input_matrix: PyTensor,
    output_matrix: PyTensor,
    skip: PyTensor,
    gate: Option<PyTensor>,
    delta_bias: Option<PyTensor>,
    lengths: PyTensor,
    reverse: bool,
) -> PyResult<GradientTensors> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(
            &x,
            &delta,
            &state_matrix,
            &input_matrix,
            &output_matrix,
            &skip,
            gate.as_ref(),
            delta_bias.as_ref(),
            &lengths,
            reverse,
        )
        .and_then(|inputs| backward(py, &grad, &states, &inputs))
    })?)
}
