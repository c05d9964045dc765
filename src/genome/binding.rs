//! The Python class of [`Genome`](super::Genome).

use super::foreign::{START_BYTES, foreign_file as describe};
use super::{Genome, OP, Opening};
use crate::tensor::{Output, PyTensor};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What a file is that is not read, by its first 512 bytes, and what to do with it; None of any other.
#[pyfunction]
pub fn foreign_file(start: &[u8]) -> Option<String> {
    describe(&start[..start.len().min(START_BYTES)])
}

/// An open FASTA file; see `dnachunk.data.Genome`.
#[pyclass(frozen, name = "Genome", module = "dnachunk._rust")]
pub struct PyGenome(Genome);

#[pymethods]
impl PyGenome {
    /// Opens `path`, whose bytes lie at `contents`.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, contents: PathBuf, skips_faults: bool) -> PyResult<Self> {
        let raised = Mutex::new(None);
        let is_interrupted = || {
            let Err(error) = Python::attach(|py| py.check_signals()) else { return false };
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            true
        };
        let opening =
            Opening { contents: Some(&contents), skips_faults, is_interrupted: Some(&is_interrupted) };
        let genome = py.detach(|| Genome::open(&path, &opening));
        match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(Self(genome?)),
        }
    }

    /// `(name, length_bp)` of each record.
    fn records(&self) -> Vec<(&str, u64)> {
        self.0.records().iter().map(|record| (record.name.as_str(), record.length_bp)).collect()
    }

    /// `(name, fault)` of each record that was left out.
    fn skipped(&self) -> Vec<(String, String)> {
        self.0.skipped().to_vec()
    }

    /// `(ids uint8, repeat_mask bool)` of a range of one record.
    #[pyo3(signature = (record_index, start_bp, end_bp, reverse_complement = false))]
    fn fetch(
        &self,
        py: Python<'_>,
        record_index: i64,
        start_bp: i64,
        end_bp: i64,
        reverse_complement: bool,
    ) -> PyResult<(PyTensor, PyTensor)> {
        let (record, range) = self.0.check_range(record_index, start_bp..end_bp)?;
        let shape = [(range.end - range.start) as usize];
        let (mut ids, mut repeats) = (Output::<u8>::new(OP, shape)?, Output::<bool>::new(OP, shape)?);
        let (ids_out, repeats_out) = (ids.as_mut_slice(), repeats.as_mut_slice());
        py.detach(|| self.0.fetch(record, range, reverse_complement, ids_out, repeats_out))?;
        Ok((ids.into_tensor(), repeats.into_tensor()))
    }
}
