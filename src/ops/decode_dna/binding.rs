//! Python entry point of [`decode_dna`](super).

use super::cpu;
use crate::error::{Error, Result};
use crate::flag::Flag;
use crate::parallel::{self, Disjoint};
use crate::tensor::{Input, PyTensor, num_threads};
use pyo3::prelude::*;

const OP: &str = "decode_dna";

fn decode(
    py: Python<'_>,
    ids: &PyTensor,
    offsets: &PyTensor,
    repeat_mask: Option<&PyTensor>,
) -> Result<Vec<String>> {
    let ids = Input::<u8, 1>::new(OP, "ids", ids)?;
    let offsets = Input::<i64, 1>::new(OP, "offsets", offsets)?;
    let repeat_mask = repeat_mask
        .map(|mask| Input::<Flag, 1>::with_shape(OP, "repeat_mask", mask, ids.shape()))
        .transpose()?;
    let (ids, offsets) = (ids.as_slice(), offsets.as_slice());
    let repeat_mask = repeat_mask.as_ref().map(Input::as_slice);
    let in_order = offsets.first().is_some_and(|&first| first >= 0)
        && offsets.is_sorted()
        && offsets.last().is_some_and(|&last| last as usize <= ids.len());
    if !in_order {
        let expected = format!("B + 1 ascending places in the {} ids", ids.len());
        let shown = &offsets[..offsets.len().min(8)];
        return Err(Error::value(
            OP,
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
            Error::value(OP, "ids", "ids of the alphabet, 0 to 9", got)
        })
    });
    checked.collect()
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
