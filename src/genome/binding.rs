//! The Python class of [`Genome`](super::Genome).

use super::{Genome, OP};
use crate::tensor::{Output, PyTensor};
use pyo3::prelude::*;
use std::path::PathBuf;

/// An open FASTA file; see `dnachunk.data.Genome`.
#[pyclass(frozen, name = "Genome", module = "dnachunk._rust")]
pub struct PyGenome(Genome);

#[pymethods]
impl PyGenome {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| Genome::open(&path))?))
    }

    /// `(name, length_bp)` of each record.
    fn records(&self) -> Vec<(&str, u64)> {
        self.0.records().iter().map(|record| (record.name.as_str(), record.length_bp)).collect()
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
