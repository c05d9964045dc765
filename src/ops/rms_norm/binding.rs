//! Python entry points of [`rms_norm`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, dtype_name, num_threads};
use half::{bf16, f16};
use pyo3::prelude::*;
use tch::Kind;

const OP: &str = "rms_norm";

/// Runs `$body` with the types of `x` and of the result.
macro_rules! with_types {
    ($x:expr, $out:expr, $T:ident, $U:ident => $body:expr) => {{
        macro_rules! run {
            ($x_type:ty, $out_type:ty) => {{
                type $T = $x_type;
                type $U = $out_type;
                $body
            }};
        }
        match ($x, $out) {
            (Kind::Float, Kind::Float) => run!(f32, f32),
            (Kind::Float, Kind::BFloat16) => run!(f32, bf16),
            (Kind::Float, Kind::Half) => run!(f32, f16),
            (Kind::BFloat16, Kind::BFloat16) => run!(bf16, bf16),
            (Kind::Half, Kind::Half) => run!(f16, f16),
            (Kind::Double, Kind::Double) => run!(f64, f64),
            (x, out) => Err(Error::type_(
                OP,
                "x and dtype",
                "one dtype, or float32 and a half type",
                format!("{} and {}", dtype_name(x), dtype_name(out)),
            )),
        }
    }};
}

fn forward<T: Element + Scalar<Acc: Element>, U: Element + Scalar<Acc = T::Acc>>(
    py: Python<'_>,
    x: &PyTensor,
    weight: &PyTensor,
    epsilon: f64,
) -> Result<(PyTensor, PyTensor)> {
    let x = Input::<T, 2>::new(OP, "x", x)?;
    let [rows, width] = x.shape();
    let weight = Input::<T::Acc, 1>::with_shape(OP, "weight", weight, [width])?;
    let mut out = Output::<U>::new(OP, [rows, width])?;
    let mut inverse = Output::<T::Acc>::new(OP, [rows])?;
    let (x, weight, threads) = (x.as_slice(), weight.as_slice(), num_threads());
    let (out_slice, inverse_slice) = (out.as_mut_slice(), inverse.as_mut_slice());
    py.detach(|| cpu::forward::<T, U>(x, weight, epsilon, threads, out_slice, inverse_slice));
    Ok((out.into_tensor(), inverse.into_tensor()))
}

fn backward<T: Element + Scalar<Acc: Element>, U: Element + Scalar<Acc = T::Acc>>(
    py: Python<'_>,
    grad: &PyTensor,
    inverse: &PyTensor,
    x: &PyTensor,
    weight: &PyTensor,
) -> Result<(PyTensor, PyTensor)> {
    let x = Input::<T, 2>::new(OP, "x", x)?;
    let [rows, width] = x.shape();
    let weight = Input::<T::Acc, 1>::with_shape(OP, "weight", weight, [width])?;
    let inverse = Input::<T::Acc, 1>::with_shape(OP, "inverse", inverse, [rows])?;
    let grad = Input::<U, 2>::with_shape(OP, "grad", grad, [rows, width])?;
    let mut grad_x = Output::<T>::new(OP, [rows, width])?;
    let mut grad_weight = Output::<T::Acc>::new(OP, [width])?;
    let (x, weight, inverse, grad) = (x.as_slice(), weight.as_slice(), inverse.as_slice(), grad.as_slice());
    let (grad_x_slice, grad_weight_slice) = (grad_x.as_mut_slice(), grad_weight.as_mut_slice());
    let threads = num_threads();
    py.detach(|| cpu::backward::<T, U>(grad, inverse, x, weight, threads, grad_x_slice, grad_weight_slice));
    Ok((grad_x.into_tensor(), grad_weight.into_tensor()))
}

fn kind_of(dtype: &str) -> Result<Kind> {
    let kinds = [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half];
    let found = kinds.into_iter().find(|&kind| dtype_name(kind) == dtype);
    found.ok_or_else(|| Error::type_(OP, "dtype", "float32, float64, bfloat16 or float16", dtype))
}

/// `(out [R, D] of the named dtype, reciprocal root mean square [R])`.
#[pyfunction]
pub fn rms_norm_forward(
    py: Python<'_>,
    x: PyTensor,
    weight: PyTensor,
    epsilon: f64,
    dtype: &str,
) -> PyResult<(PyTensor, PyTensor)> {
    let out = kind_of(dtype)?;
    Ok(with_types!(x.0.kind(), out, T, U => forward::<T, U>(py, &x, &weight, epsilon))?)
}

/// Gradients of `x` and `weight`.
#[pyfunction]
pub fn rms_norm_backward(
    py: Python<'_>,
    grad: PyTensor,
    inverse: PyTensor,
    x: PyTensor,
    weight: PyTensor,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_types!(x.0.kind(), grad.0.kind(), T, U => backward::<T, U>(py, &grad, &inverse, &x, &weight))?)
}
