//! Python entry points of [`window_attention`](super).

use super::cpu::{self, Arguments};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, lengths_of, num_threads};
use crate::windows::Windows;
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "window_attention";

/// The checked arguments that forward and backward share.
struct Inputs<T: Scalar> {
    qkv: Input<T, 5>,
    cos: Input<T::Acc, 3>,
    sin: Input<T::Acc, 3>,
    lengths: Input<i64, 1>,
    windows: Windows,
    bias: Option<Input<T::Acc, 2>>,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        qkv: &PyTensor,
        cos: &PyTensor,
        sin: &PyTensor,
        lengths: &PyTensor,
        window: i64,
        shift: i64,
        bias: Option<&PyTensor>,
    ) -> Result<Self> {
        let qkv = Input::<T, 5>::new(OP, "qkv", qkv)?;
        let [batch, length, three, _, head_dim] = qkv.shape();
        if three != 3 || head_dim == 0 || head_dim % 2 == 1 {
            return Err(Error::value(OP, "qkv", "[B, N, 3, H, d] with d even", format!("{:?}", qkv.shape())));
        }
        let angles = |argument: &'static str, tensor: &PyTensor| {
            let input = Input::<T::Acc, 3>::new(OP, argument, tensor)?;
            let rows = if input.shape()[0] == 1 { 1 } else { batch };
            input.expect_shape(OP, argument, [rows, length, head_dim / 2])
        };
        let (cos, sin) = (angles("cos", cos)?, angles("sin", sin)?);
        let sin = sin.expect_shape(OP, "sin", cos.shape())?;
        let lengths = lengths_of(OP, lengths, batch, length)?;
        let windows = Windows::new(OP, window, shift, length)?;
        let bias = bias.map(|bias| Input::with_shape(OP, "bias", bias, [batch, length])).transpose()?;
        Ok(Self { qkv, cos, sin, lengths, windows, bias })
    }

    fn arguments(&self) -> Arguments<'_, T> {
        let [.., heads, head_dim] = self.qkv.shape();
        Arguments {
            qkv: self.qkv.as_slice(),
            cos: self.cos.as_slice(),
            sin: self.sin.as_slice(),
            lengths: self.lengths.as_slice(),
            bias: self.bias.as_ref().map(Input::as_slice),
            windows: self.windows,
            heads,
            head_dim,
        }
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(py: Python<'_>, inputs: &Inputs<T>) -> Result<PyTensor> {
    let [batch, length, _, heads, head_dim] = inputs.qkv.shape();
    let mut output = Output::<T>::new(OP, [batch, length, heads, head_dim])?;
    let (arguments, slice) = (inputs.arguments(), output.as_mut_slice());
    py.detach(|| cpu::forward(&arguments, num_threads(), slice));
    Ok(output.into_tensor())
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    inputs: &Inputs<T>,
) -> Result<(PyTensor, PyTensor)> {
    let [batch, length, _, heads, head_dim] = inputs.qkv.shape();
    let shape = [batch, length, heads, head_dim];
    let grad = Input::<T, 4>::with_shape(OP, "grad", grad, shape)?;
    let mut grad_qkv = Output::<T>::new(OP, inputs.qkv.shape())?;
    let mut grad_bias = Output::<T::Acc>::new(OP, inputs.bias.as_ref().map_or([0, 0], Input::shape))?;
    let (arguments, grad, threads) = (inputs.arguments(), grad.as_slice(), num_threads());
    let (qkv, bias) = (grad_qkv.as_mut_slice(), grad_bias.as_mut_slice());
    py.detach(|| cpu::backward(grad, &arguments, threads, qkv, bias));
    Ok((grad_qkv.into_tensor(), grad_bias.into_tensor()))
}

/// `qkv [B, N, 3, H, d]` to `[B, N, H, d]`.
#[pyfunction]
pub fn window_attention_forward(
    py: Python<'_>,
    qkv: PyTensor,
    cos: PyTensor,
    sin: PyTensor,
    lengths: PyTensor,
    window: i64,
    shift: i64,
    bias: Option<PyTensor>,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "qkv", qkv.0.kind(), T => {
        Inputs::<T>::new(&qkv, &cos, &sin, &lengths, window, shift, bias.as_ref())
            .and_then(|inputs| forward(py, &inputs))
    })?)
}

/// Gradients of `qkv` and of `bias`, which is empty where there is none.
#[pyfunction]
pub fn window_attention_backward(
    py: Python<'_>,
    grad: PyTensor,
    qkv: PyTensor,
    cos: PyTensor,
    sin: PyTensor,
    lengths: PyTensor,
    window: i64,
    shift: i64,
    bias: Option<PyTensor>,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "qkv", qkv.0.kind(), T => {
        Inputs::<T>::new(&qkv, &cos, &sin, &lengths, window, shift, bias.as_ref())
            .and_then(|inputs| backward(py, &grad, &inputs))
    })?)
}
