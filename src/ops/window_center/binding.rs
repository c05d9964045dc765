//! Python entry point of [`window_center`](super).

use super::cpu;
use crate::error::Result;
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, lengths_of, num_threads};
use crate::windows::Windows;
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "window_center";

fn forward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    x: &PyTensor,
    lengths: &PyTensor,
    window: i64,
    shift: i64,
) -> Result<PyTensor> {
    let x = Input::<T, 3>::new(OP, "x", x)?;
    let [batch, length, channels] = x.shape();
    let windows = Windows::new(OP, window, shift, length)?;
    let lengths = lengths_of(OP, lengths, batch, length)?;
    let mut out = Output::<T::Acc>::new(OP, [batch, length, channels])?;
    let (x, lengths, centered) = (x.as_slice(), lengths.as_slice(), out.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::forward(x, lengths, windows, channels, threads, centered));
    Ok(out.into_tensor())
}

/// `x [B, N, D]` to the same in the accumulator type.
#[pyfunction]
pub fn window_center_forward(
    py: Python<'_>,
    x: PyTensor,
    lengths: PyTensor,
    window: i64,
    shift: i64,
) -> PyResult<PyTensor> {
    Ok(with_float!(OP, "x", x.0.kind(), T => forward::<T>(py, &x, &lengths, window, shift))?)
}
