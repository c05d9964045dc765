//! Python entry points of [`deformable_conv`](super).

use super::cpu::{self, Arguments};
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, lengths_of, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "deformable_conv";

/// The checked arguments that forward and backward share.
struct Inputs<T: Scalar> {
    x: Input<T, 3>,
    offset: Input<T::Acc, 3>,
    modulation: Input<T::Acc, 3>,
    lengths: Vec<usize>,
}

impl<T: Element + Scalar<Acc: Element>> Inputs<T> {
    fn new(
        x: &PyTensor,
        offset: &PyTensor,
        modulation: &PyTensor,
        lengths: Option<&PyTensor>,
    ) -> Result<Self> {
        let x = Input::<T, 3>::new(OP, "x", x)?;
        let [batch, rows, _] = x.shape();
        let offset = Input::<T::Acc, 3>::new(OP, "offset", offset)?;
        let [_, _, taps] = offset.shape();
        let offset = offset.expect_shape(OP, "offset", [batch, rows, taps])?;
        let modulation = Input::<T::Acc, 3>::with_shape(OP, "modulation", modulation, [batch, rows, taps])?;
        if rows.saturating_mul(taps) > u32::MAX as usize {
            return Err(Error::value(OP, "offset", "of fewer than 2³² samples", format!("{rows} x {taps}")));
        }
        let lengths = match lengths {
            // Nothing bounds the sequences of a tensor without elements.
            None => vec![rows; if rows == 0 { 0 } else { batch }],
            Some(lengths) => {
                let lengths = lengths_of(OP, lengths, batch, rows)?;
                lengths.as_slice().iter().map(|&real| real as usize).collect()
            }
        };
        Ok(Self { x, offset, modulation, lengths })
    }

    fn arguments(&self) -> Arguments<'_, T> {
        let [_, rows, channels] = self.x.shape();
        Arguments {
            x: self.x.as_slice(),
            offset: self.offset.as_slice(),
            modulation: self.modulation.as_slice(),
            lengths: &self.lengths,
            rows,
            taps: self.offset.shape()[2],
            channels,
        }
    }

    fn columns_shape(&self) -> [usize; 4] {
        let arguments = self.arguments();
        [self.x.shape()[0], arguments.rows, arguments.taps, arguments.channels]
    }
}

fn forward<T: Element + Scalar<Acc: Element>>(py: Python<'_>, inputs: &Inputs<T>) -> Result<PyTensor> {
    let mut columns = Output::<T>::new(OP, inputs.columns_shape())?;
    let (arguments, slice) = (inputs.arguments(), columns.as_mut_slice());
    py.detach(|| cpu::forward(&arguments, num_threads(), slice));
    Ok(columns.into_tensor())
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad_columns: &PyTensor,
    inputs: &Inputs<T>,
) -> Result<(PyTensor, PyTensor, PyTensor)> {
    let grad_columns = Input::<T, 4>::with_shape(OP, "grad_columns", grad_columns, inputs.columns_shape())?;
    let mut grad_x = Output::<T>::new(OP, inputs.x.shape())?;
    let mut grad_offset = Output::<T::Acc>::new(OP, inputs.offset.shape())?;
    let mut grad_modulation = Output::<T::Acc>::new(OP, inputs.offset.shape())?;
    let (arguments, grad_columns) = (inputs.arguments(), grad_columns.as_slice());
    let (grad_x_slice, grad_offset_slice) = (grad_x.as_mut_slice(), grad_offset.as_mut_slice());
    let grad_modulation_slice = grad_modulation.as_mut_slice();
    py.detach(|| {
        cpu::backward(
            grad_columns,
            &arguments,
            num_threads(),
            grad_x_slice,
            grad_offset_slice,
            grad_modulation_slice,
        );
    });
    Ok((grad_x.into_tensor(), grad_offset.into_tensor(), grad_modulation.into_tensor()))
}

/// `x [B, K, D]` to `columns [B, K, f, D]`.
#[pyfunction]
pub fn deformable_conv_forward(
    py: Python<'_>,
    x: PyTensor,
    offset: PyTensor,
    modulation: PyTensor,
    lengths: Option<PyTensor>,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(&x, &offset, &modulation, lengths.as_ref()).and_then(|inputs| forward(py, &inputs))
    })?)
}

/// Gradients of `x`, `offset` and `modulation`.
#[pyfunction]
pub fn deformable_conv_backward(
    py: Python<'_>,
    grad_columns: PyTensor,
    x: PyTensor,
    offset: PyTensor,
    modulation: PyTensor,
    lengths: Option<PyTensor>,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    Ok(with_float!(OP, "x", x.0.kind(), T => {
        Inputs::<T>::new(&x, &offset, &modulation, lengths.as_ref())
            .and_then(|inputs| backward(py, &grad_columns, &inputs))
    })?)
}
