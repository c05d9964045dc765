//! Python entry points of [`boundary_routing`](super).

use super::cpu;
use crate::error::Result;
use crate::flag::Flag;
use crate::float::Scalar;
use crate::tensor::{Element, Input, Output, PyTensor, lengths_of, num_threads};
use crate::with_float;
use pyo3::prelude::*;

const OP: &str = "boundary_routing";

/// `(boundary_probability, is_boundary, is_forced, token_index, num_tokens, inverse_norms)`.
type Results = (PyTensor, PyTensor, PyTensor, PyTensor, PyTensor, PyTensor);

fn forward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    query: &PyTensor,
    key: &PyTensor,
    lengths: &PyTensor,
    is_protected: Option<&PyTensor>,
) -> Result<Results> {
    let query = Input::<T, 3>::new(OP, "query", query)?;
    let [batch, positions, channels] = query.shape();
    let key = Input::<T, 3>::with_shape(OP, "key", key, query.shape())?;
    let lengths = lengths_of(OP, lengths, batch, positions)?;
    let shape = [batch, positions];
    let is_protected = is_protected
        .map(|tensor| Input::<Flag, 2>::with_shape(OP, "is_protected", tensor, shape))
        .transpose()?;
    let mut probability = Output::<T::Acc>::new(OP, shape)?;
    let mut inverse_norms = Output::<T::Acc>::new(OP, [batch, positions, 2])?;
    let (mut is_boundary, mut is_forced) = (Output::<bool>::new(OP, shape)?, Output::<bool>::new(OP, shape)?);
    let (mut token_index, mut num_tokens) =
        (Output::<i64>::new(OP, shape)?, Output::<i64>::new(OP, [batch])?);
    let (query, key, lengths) = (query.as_slice(), key.as_slice(), lengths.as_slice());
    let is_protected = is_protected.as_ref().map(Input::as_slice);
    let (probability_out, inverse_out) =
        (probability.as_mut_slice(), inverse_norms.as_mut_slice().as_chunks_mut().0);
    let (boundary_out, forced_out) = (is_boundary.as_mut_slice(), is_forced.as_mut_slice());
    let (index_out, count_out) = (token_index.as_mut_slice(), num_tokens.as_mut_slice());
    let threads = num_threads();
    py.detach(|| {
        cpu::forward(
            query,
            key,
            lengths,
            is_protected,
            positions,
            channels,
            threads,
            probability_out,
            inverse_out,
            boundary_out,
            forced_out,
            index_out,
            count_out,
        );
    });
    Ok((
        probability.into_tensor(),
        is_boundary.into_tensor(),
        is_forced.into_tensor(),
        token_index.into_tensor(),
        num_tokens.into_tensor(),
        inverse_norms.into_tensor(),
    ))
}

fn backward<T: Element + Scalar<Acc: Element>>(
    py: Python<'_>,
    grad_probability: &PyTensor,
    probability: &PyTensor,
    inverse_norms: &PyTensor,
    query: &PyTensor,
    key: &PyTensor,
) -> Result<(PyTensor, PyTensor)> {
    let query = Input::<T, 3>::new(OP, "query", query)?;
    let [batch, positions, channels] = query.shape();
    let key = Input::<T, 3>::with_shape(OP, "key", key, query.shape())?;
    let per_position =
        |argument, tensor| Input::<T::Acc, 2>::with_shape(OP, argument, tensor, [batch, positions]);
    let probability = per_position("boundary_probability", probability)?;
    let grad_probability = per_position("grad_probability", grad_probability)?;
    let inverse_norms =
        Input::<T::Acc, 3>::with_shape(OP, "inverse_norms", inverse_norms, [batch, positions, 2])?;
    let shape = [batch, positions, channels];
    let (mut grad_query, mut grad_key) = (Output::<T>::new(OP, shape)?, Output::<T>::new(OP, shape)?);
    let (query, key, probability) = (query.as_slice(), key.as_slice(), probability.as_slice());
    let (inverse_norms, grad) = (inverse_norms.as_slice().as_chunks().0, grad_probability.as_slice());
    let (query_out, key_out) = (grad_query.as_mut_slice(), grad_key.as_mut_slice());
    let threads = num_threads();
    py.detach(|| {
        cpu::backward(
            grad,
            probability,
            inverse_norms,
            query,
            key,
            positions,
            channels,
            threads,
            query_out,
            key_out,
        );
    });
    Ok((grad_query.into_tensor(), grad_key.into_tensor()))
}

/// `(boundary_probability, is_boundary, is_forced, token_index [B, N], num_tokens [B],
/// inverse_norms [B, N, 2])` of `query`, `key` `[B, N, D]`.
#[pyfunction]
#[pyo3(signature = (query, key, lengths, is_protected))]
pub fn boundary_routing_forward(
    py: Python<'_>,
    query: PyTensor,
    key: PyTensor,
    lengths: PyTensor,
    is_protected: Option<PyTensor>,
) -> PyResult<Results> {
    Ok(with_float!(OP, "query", query.0.kind(), T => {
        forward::<T>(py, &query, &key, &lengths, is_protected.as_ref())
    })?)
}

/// Gradients of `query` and `key`.
#[pyfunction]
pub fn boundary_routing_backward(
    py: Python<'_>,
    grad_probability: PyTensor,
    boundary_probability: PyTensor,
    inverse_norms: PyTensor,
    query: PyTensor,
    key: PyTensor,
) -> PyResult<(PyTensor, PyTensor)> {
    Ok(with_float!(OP, "query", query.0.kind(), T => {
        backward::<T>(py, &grad_probability, &boundary_probability, &inverse_norms, &query, &key)
    })?)
}
