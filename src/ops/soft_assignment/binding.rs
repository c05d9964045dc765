//! Python entry points of [`soft_assignment`](super).

use super::LARGEST_WINDOW;
use super::cpu::{self, Settings};
use crate::error::{Error, Result};
use crate::float::Accumulator;
use crate::tensor::{Element, Input, Output, PyTensor, dtype_name, lengths_of, num_threads};
use crate::windows::{Windows, check_num_merges};
use pyo3::prelude::*;
use tch::Kind;

const OP: &str = "soft_assignment";

/// The checked arguments of both passes.
struct Arguments<A> {
    scores: Input<A, 2>,
    lengths: Input<i64, 1>,
    num_merges: Input<i64, 1>,
    settings: Settings,
}

impl<A: Element> Arguments<A> {
    fn new(
        scores: &PyTensor,
        lengths: &PyTensor,
        num_merges: &PyTensor,
        window: i64,
        shift: i64,
        temperature: f64,
    ) -> Result<Self> {
        let scores = Input::<A, 2>::new(OP, "scores", scores)?;
        let [batch, length] = scores.shape();
        let windows = Windows::new(OP, window, shift, length)?;
        if windows.window > LARGEST_WINDOW {
            return Err(Error::value(OP, "window", format!("at most {LARGEST_WINDOW}"), window.to_string()));
        }
        let lengths = lengths_of(OP, lengths, batch, length)?;
        let num_merges = Input::<i64, 1>::with_shape(OP, "num_merges", num_merges, [batch])?;
        check_num_merges(OP, num_merges.as_slice(), lengths.as_slice(), windows)?;
        Ok(Self { scores, lengths, num_merges, settings: Settings { windows, temperature } })
    }
}

fn forward<A: Element + Accumulator>(py: Python<'_>, arguments: &Arguments<A>) -> Result<PyTensor> {
    let [batch, length] = arguments.scores.shape();
    let mut assignment = Output::<A>::new(OP, [batch, length, 2])?;
    let out = assignment.as_mut_slice().as_chunks_mut().0;
    let (scores, lengths) = (arguments.scores.as_slice(), arguments.lengths.as_slice());
    let (num_merges, settings, threads) =
        (arguments.num_merges.as_slice(), arguments.settings, num_threads());
    py.detach(|| cpu::forward(scores, lengths, num_merges, settings, threads, out));
    Ok(assignment.into_tensor())
}

fn backward<A: Element + Accumulator>(
    py: Python<'_>,
    grad: &PyTensor,
    arguments: &Arguments<A>,
) -> Result<PyTensor> {
    let [batch, length] = arguments.scores.shape();
    let grad = Input::<A, 3>::with_shape(OP, "grad", grad, [batch, length, 2])?;
    let mut grad_scores = Output::<A>::new(OP, [batch, length])?;
    let (grad, out) = (grad.as_slice().as_chunks().0, grad_scores.as_mut_slice());
    let (scores, lengths) = (arguments.scores.as_slice(), arguments.lengths.as_slice());
    let (num_merges, settings, threads) =
        (arguments.num_merges.as_slice(), arguments.settings, num_threads());
    py.detach(|| cpu::backward(grad, scores, lengths, num_merges, settings, threads, out));
    Ok(grad_scores.into_tensor())
}

/// Runs `$body` with `$A` bound to the Rust type of the scores, or returns a type error.
macro_rules! with_scores {
    ($kind:expr, $A:ident => $body:expr) => {
        match $kind {
            Kind::Float => {
                type $A = f32;
                $body
            }
            Kind::Double => {
                type $A = f64;
                $body
            }
            other => Err(Error::type_(OP, "scores", "float32 or float64", dtype_name(other))),
        }
    };
}

/// `assignment [B, N, 2]`.
#[pyfunction]
pub fn soft_assignment_forward(
    py: Python<'_>,
    scores: PyTensor,
    lengths: PyTensor,
    num_merges: PyTensor,
    window: i64,
    shift: i64,
    temperature: f64,
) -> PyResult<PyTensor> {
    Ok(with_scores!(scores.0.kind(), A => {
        Arguments::<A>::new(&scores, &lengths, &num_merges, window, shift, temperature)
            .and_then(|arguments| forward(py, &arguments))
    })?)
}

/// Gradient of the scores, `[B, N]`.
#[pyfunction]
pub fn soft_assignment_backward(
    py: Python<'_>,
    grad: PyTensor,
    scores: PyTensor,
    lengths: PyTensor,
    num_merges: PyTensor,
    window: i64,
    shift: i64,
    temperature: f64,
) -> PyResult<PyTensor> {
    Ok(with_scores!(scores.0.kind(), A => {
        Arguments::<A>::new(&scores, &lengths, &num_merges, window, shift, temperature)
            .and_then(|arguments| backward(py, &grad, &arguments))
    })?)
}
