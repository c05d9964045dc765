//! The Python class of [`BgzipWriter`](super::BgzipWriter).

use super::{BgzipWriter, Layout, index_ending};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A binary file in the blocks of `bgzip`, with the methods that `io.TextIOWrapper` asks for; see
/// `dnachunk.data.text`.
#[pyclass(frozen, name = "BgzipWriter", module = "dnachunk._rust")]
pub struct PyBgzipWriter(Mutex<BgzipWriter>);

impl PyBgzipWriter {
    fn with<T: Send>(&self, py: Python<'_>, act: impl FnOnce(&mut BgzipWriter) -> T + Send) -> T {
        // Locked without the GIL: who holds the lock may wait for the GIL.
        py.detach(|| act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl PyBgzipWriter {
    #[new]
    #[pyo3(signature = (path, index_path=None, longest_bp=0, layout="bed"))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        index_path: Option<PathBuf>,
        longest_bp: u64,
        layout: &str,
    ) -> PyResult<Self> {
        let layout = Layout::named(layout)
            .ok_or_else(|| PyValueError::new_err(format!("layout must be bed, gff or vcf, got {layout}")))?;
        let writer = py.detach(|| match index_path {
            Some(index_path) => BgzipWriter::create_indexed(&path, &index_path, layout, longest_bp),
            None => BgzipWriter::create(&path),
        })?;
        Ok(Self(Mutex::new(writer)))
    }

    /// How the name of the index of a file ends whose records have at most so many bases.
    #[staticmethod]
    fn index_ending(longest_bp: u64) -> &'static str {
        index_ending(longest_bp)
    }

    /// Appends all bytes; returns how many they are.
    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        self.with(py, |file| file.write(data))?;
        Ok(data.len())
    }

    /// Ends the block that is being filled, and hands it to the system.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.with(py, BgzipWriter::flush)?)
    }

    /// Ends the file with the empty block that says that it is whole; does nothing to a closed one.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.with(py, BgzipWriter::close)?)
    }

    /// Whether it is closed, by `close` or by an error.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.with(py, |file| file.is_closed())
    }

    /// False.
    #[staticmethod]
    fn readable() -> bool {
        false
    }

    /// True.
    #[staticmethod]
    fn writable() -> bool {
        true
    }

    /// False.
    #[staticmethod]
    fn seekable() -> bool {
        false
    }
}
