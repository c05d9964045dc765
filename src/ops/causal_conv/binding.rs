//! Python entry points of [`causal_conv`](super).

use super::WIDTHS;
use super::cpu::{self, Arguments};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, RowsInput, lengths_of, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "causal_conv";

/// Runs `$body` with `$W` bound to a width that there is a kernel for.
macro_rules! with_width {
    ($width:expr, $W:ident => $body:expr) => {
        match $width {
            2 => {
                const $W: usize = 2;
                $body
            }
            3 => {
                const $W: usize = 3;
                $body
            }
            _ => {
                const $W: usize = 4;
                $body
            }
        }
    };
}

/// The checked arguments that forward and backward share.
struct Inputs<T: Scalar> {
    x: RowsInput<T>,
    weight: Input<T::Acc, 2>,
    bias: Option<Input<T::Acc, 1>>,
    lengths: Input<i64, 1>,
    silu: bool,
    reverse: bool,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        x: &PyTensor,
        weight: &PyTensor,
        bias: Option<&PyTensor>,
        lengths: &PyTensor,
        silu: bool,
        reverse: bool,
    ) -> Result<Self> {
        let x = RowsInput::<T>::new(OP, "x", x)?;
        let [batch, length, channels] = x.shape();
        let weight = Input::<T::Acc, 2>::new(OP, "weight", weight)?;
        let width = weight.shape()[1];
        if !WIDTHS.contains(&width) {
            let expected = format!("[D, W] with W from {} to {}", WIDTHS.start(), WIDTHS.end());
            return Err(Error::value(OP, "weight", expected, format!("{:?}", weight.shape())));
        }
        let weight = weight.expect_shape(OP, "weight", [channels, width])?;
        let bias =
            bias.map(|bias| Input::<T::Acc, 1>::with_shape(OP, "bias", bias, [channels])).transpose()?;
        let lengths = lengths_of(OP, lengths, batch, length)?;
        Ok(Self { x, weight, bias, lengths, silu, reverse })
    }

    fn arguments(&self) -> Arguments<'_, T> {
        let [_, length, channels] = self.x.shape();
        Arguments {
            x: self.x.as_rows(),
            weight: self.weight.as_slice(),
            bias: self.bias.as_ref().map(Input::as_slice),
            lengths: self.lengths.as_slice(),
            length,
            channels,
            silu: self.silu,
            reverse: self.reverse,
        }
    }

    fn width(&self) -> usize {
        self.weight.shape()[1]
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(py: Python<'_>, inputs: &Inputs<T>) -> Result<PyTensor> {
    let mut out = Output::<T>::new(OP, inputs.x.shape())?;
    let (arguments, out_slice, threads) = (inputs.arguments(), out.as_mut_slice(), num_threads());
    with_width!(inputs.width(), W => {
        py.detach(|| cpu::forward::<T, W>(&arguments, threads, out_slice));
    });
    Ok(out.into_tensor())
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad: &PyTensor,
    inputs: &Inputs<T>,
) -> Result<(PyTensor, PyTensor, PyTensor)> {
    let shape = inputs.x.shape();
    let grad = RowsInput::<T>::with_shape(OP, "grad", grad, shape)?;
    let mut grad_x = Output::<T>::new(OP, shape)?;
    let mut grad_weight = Output::<T::Acc>::new(OP, inputs.weight.shape())?;
    let mut grad_bias = Output::<T::Acc>::new(OP, [inputs.bias.as_ref().map_or(0, |_| shape[2])])?;
    let (arguments, grad, threads) = (inputs.arguments(), grad.as_rows(), num_threads());
    let (x, weight, bias) = (grad_x.as_mut_slice(), grad_weight.as_mut_slice(), grad_bias.as_mut_slice());
    with_width!(inputs.width(), W => {
        py.detach(|| cpu::backward::<T, W>(grad, &arguments, threads, x, weight, bias));
    });
    Ok((grad_x.into_tensor(), grad_weight.into_tensor(), grad_bias.into_tensor()))
}

/// `x [B, N, D]` to the same shape.
#[pyfunction]
pub fn causal_conv_forward(
    py: Python<'_>,
    x: PyTensor,
    weight: PyTensor,
    bias: Option<PyTensor>,
    lengths: PyTensor,
    silu: bool,
    reverse: bool,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(&x, &weight, bias.as_ref(), &lengths, silu, reverse)
            .and_then(|inputs| forward(py, &inputs))
    })?)
}

/// Gradients of `x`, `weight` and `bias`, which is empty where there is none.
#[pyfunction]
pub fn causal_conv_backward(
    py: Python<'_>,
    grad: PyTensor,
    x: PyTensor,
    weight: PyTensor,
    bias: Option<PyTensor>,
    lengths: PyTensor,
    silu: bool,
    reverse: bool,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(&x, &weight, bias.as_ref(), &lengths, silu, reverse)
            .and_then(|inputs| backward(py, &grad, &inputs))
    })?)
}
