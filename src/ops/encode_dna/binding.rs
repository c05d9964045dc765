//! Python entry point of [`encode_dna`](super).

use super::cpu::{Layout, Unreadable};
use crate::alphabet::describe_byte;
use crate::error::{Error, Result};
use crate::tensor::{Output, PyTensor, num_threads};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

const OP: &str = "encode_dna";

fn text_of<'a>(index: usize, sequence: &'a Bound<'_, PyAny>) -> Result<&'a [u8]> {
    if let Ok(text) = sequence.cast::<PyString>() {
        return text.to_str().map(str::as_bytes).map_err(|_| {
            Error::value(OP, "sequences", "DNA letters", format!("a lone surrogate in sequence {index}"))
        });
    }
    if let Ok(text) = sequence.cast::<PyBytes>() {
        return Ok(text.as_bytes());
    }
    let kind = sequence.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    Err(Error::type_(OP, "sequences", "str or bytes", format!("{kind} at index {index}")))
}

fn encode(py: Python<'_>, sequences: &[Bound<'_, PyAny>]) -> Result<(PyTensor, PyTensor, PyTensor)> {
    let texts = sequences.iter().enumerate().map(|(index, sequence)| text_of(index, sequence));
    let texts = texts.collect::<Result<Vec<&[u8]>>>()?;
    let threads = num_threads();
    let layout = py.detach(|| Layout::new(&texts, threads));
    let mut ids = Output::<u8>::new(OP, [layout.total()])?;
    let mut repeat_mask = Output::<bool>::new(OP, [layout.total()])?;
    let mut offsets = Output::<i64>::new(OP, [layout.offsets.len()])?;
    let (ids_out, repeat_out) = (ids.as_mut_slice(), repeat_mask.as_mut_slice());
    py.detach(|| layout.encode(ids_out, repeat_out)).map_err(|Unreadable { sequence, position, byte }| {
        let got = format!("byte {} at position {position} of sequence {sequence}", describe_byte(byte));
        Error::value(OP, "sequences", "DNA letters (IUPAC) and special tokens such as [MASK]", got)
    })?;
    for (out, &offset) in offsets.as_mut_slice().iter_mut().zip(&layout.offsets) {
        *out = offset as i64;
    }
    Ok((ids.into_tensor(), repeat_mask.into_tensor(), offsets.into_tensor()))
}

/// `B` strings or bytes to `(ids [total] uint8, repeat_mask [total] bool, offsets [B + 1] int64)`.
#[pyfunction]
pub fn encode_dna(
    py: Python<'_>,
    sequences: Vec<Bound<'_, PyAny>>,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    Ok(encode(py, &sequences)?)
}
