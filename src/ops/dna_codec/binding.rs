//! Python entry points of [`dna_codec`](super).

use super::cpu::{self, Layout, Unreadable};
use crate::alphabet::describe_byte;
use crate::error::{Error, Result};
use crate::flag::Flag;
use crate::parallel::{self, Disjoint};
use crate::tensor::{Input, Output, PyTensor, num_threads};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

const ENCODE: &str = "encode_dna";
const DECODE: &str = "decode_dna";

fn text_of<'a>(index: usize, sequence: &'a Bound<'_, PyAny>) -> Result<&'a [u8]> {
    if let Ok(text) = sequence.cast::<PyString>() {
        return text.to_str().map(str::as_bytes).map_err(|_| {
            Error::value(ENCODE, "sequences", "DNA letters", format!("a lone surrogate in sequence {index}"))
        });
    }
    if let Ok(text) = sequence.cast::<PyBytes>() {
        return Ok(text.as_bytes());
    }
    let kind = sequence.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    Err(Error::type_(ENCODE, "sequences", "str or bytes", format!("{kind} at index {index}")))
}

fn encode(py: Python<'_>, sequences: &[Bound<'_, PyAny>]) -> Result<(PyTensor, PyTensor, PyTensor)> {
    let texts = sequences.iter().enumerate().map(|(index, sequence)| text_of(index, sequence));
    let texts = texts.collect::<Result<Vec<&[u8]>>>()?;
    let threads = num_threads();
    let layout = py.detach(|| Layout::new(&texts, threads));
    let mut ids = Output::<u8>::new(ENCODE, &[layout.total()])?;
    let mut repeat_mask = Output::<bool>::new(ENCODE, &[layout.total()])?;
    let mut offsets = Output::<i64>::new(ENCODE, &[layout.offsets.len()])?;
    let (ids_out, repeat_out) = (ids.as_mut_slice(), repeat_mask.as_mut_slice());
    py.detach(|| layout.encode(ids_out, repeat_out)).map_err(|Unreadable { sequence, position, byte }| {
        let got = format!("byte {} at position {position} of sequence {sequence}", describe_byte(byte));
        Error::value(ENCODE, "sequences", "DNA letters (IUPAC) and special tokens such as [MASK]", got)
    })?;
    for (out, &offset) in offsets.as_mut_slice().iter_mut().zip(&layout.offsets) {
        *out = offset as i64;
    }
    Ok((ids.into_tensor(), repeat_mask.into_tensor(), offsets.into_tensor()))
}

fn decode(
    py: Python<'_>,
    ids: &PyTensor,
    offsets: &PyTensor,
    repeat_mask: Option<&PyTensor>,
) -> Result<Vec<String>> {
    let ids = Input::<u8>::new(DECODE, "ids", ids, 1)?;
    let offsets = Input::<i64>::new(DECODE, "offsets", offsets, 1)?;
    let repeat_mask = match repeat_mask {
        Some(mask) => Some(Input::<Flag>::new(DECODE, "repeat_mask", mask, 1)?.expect_shape(
            DECODE,
            "repeat_mask",
            ids.shape(),
        )?),
        None => None,
    };
    let (ids, offsets) = (ids.as_slice(), offsets.as_slice());
    let repeat_mask = repeat_mask.as_ref().map(Input::as_slice);
    let in_order = offsets.first().is_some_and(|&first| first >= 0)
        && offsets.is_sorted()
        && offsets.last().is_some_and(|&last| last as usize <= ids.len());
    if !in_order {
        let expected = format!("B + 1 ascending places in the {} ids", ids.len());
        let shown = &offsets[..offsets.len().min(8)];
        return Err(Error::value(
            DECODE,
            "offsets",
            expected,
            format!("{} values, {shown:?} first", offsets.len()),
        ));
    }
    let threads = num_threads();
    let mut texts = Vec::new();
    texts.resize_with(offsets.len() - 1, || Ok(String::new()));
    {
        let texts = Disjoint::new(&mut texts);
        py.detach(|| {
            parallel::for_each(threads, offsets.len() - 1, |index| {
                let range = offsets[index] as usize..offsets[index + 1] as usize;
                // SAFETY: each task takes the text of its own index.
                let text = unsafe { &mut texts.part(index..index + 1)[0] };
                *text = cpu::decode(&ids[range.clone()], repeat_mask.map(|mask| &mask[range]));
            });
        });
    }
    let checked = texts.into_iter().zip(offsets).enumerate().map(|(index, (text, &offset))| {
        text.map_err(|position| {
            let id = ids[offset as usize + position];
            let got = format!("{id} at position {position} of sequence {index}");
            Error::value(DECODE, "ids", "ids of the alphabet, 0 to 9", got)
        })
    });
    checked.collect()
}

/// `B` strings or bytes to `(ids [total] uint8, repeat_mask [total] bool, offsets [B + 1] int64)`.
#[pyfunction]
pub fn encode_dna(
    py: Python<'_>,
    sequences: Vec<Bound<'_, PyAny>>,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    Ok(encode(py, &sequences)?)
}

/// `ids [total] uint8`, `offsets [B + 1] int64`, `repeat_mask [total] bool` or none to `B` strings.
#[pyfunction]
pub fn decode_dna(
    py: Python<'_>,
    ids: PyTensor,
    offsets: PyTensor,
    repeat_mask: Option<PyTensor>,
) -> PyResult<Vec<String>> {
    Ok(decode(py, &ids, &offsets, repeat_mask.as_ref())?)
}
