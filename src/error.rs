//! The one error type of the crate and how it reaches Python.

use std::path::PathBuf;

/// What went wrong, always with the operation, the argument, what was expected and what came.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shape or a value outside the contract: `ValueError`.
    #[error("{op}: {argument} must be {expected}, got {got}")]
    Value {
        /// Operation or function that was called.
        op: &'static str,
        /// Name of the offending argument.
        argument: &'static str,
        /// What the contract asks for.
        expected: String,
        /// What came instead.
        got: String,
    },
    /// A dtype or a type outside the contract: `TypeError`.
    #[error("{op}: {argument} must be {expected}, got {got}")]
    Type {
        /// Operation or function that was called.
        op: &'static str,
        /// Name of the offending argument.
        argument: &'static str,
        /// What the contract asks for.
        expected: String,
        /// What came instead.
        got: String,
    },
    /// A file whose content is not what its format asks for: `ValueError`.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Record, byte offset and reason.
        message: String,
    },
    /// The operating system refused to read or write a file: `OSError`.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A failure inside torch or the runtime, none of the caller's doing: `RuntimeError`.
    #[error("{op}: {message}")]
    Runtime {
        /// Operation or function that was called.
        op: &'static str,
        /// What failed.
        message: String,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A shape or value outside the contract.
    pub fn value(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Value { op, argument, expected: expected.into(), got: got.into() }
    }

    /// A dtype or type outside the contract.
    pub fn type_(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Type { op, argument, expected: expected.into(), got: got.into() }
    }
}

/// A number that counts something, as Python gave it.
pub fn count(op: &'static str, argument: &'static str, value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::value(op, argument, "at least 0", value.to_string()))
}

#[cfg(feature = "python")]
impl From<Error> for pyo3::PyErr {
    fn from(error: Error) -> Self {
        use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
        match &error {
            Error::Value { .. } | Error::File { .. } => PyValueError::new_err(error.to_string()),
            Error::Type { .. } => PyTypeError::new_err(error.to_string()),
            Error::Io { path, source } => {
                let path = path.display().to_string();
                let kind = std::io::Error::new(source.kind(), source.to_string());
                match source.raw_os_error() {
                    Some(code) => pyo3::exceptions::PyOSError::new_err((code, kind.to_string(), path)),
                    None => pyo3::exceptions::PyOSError::new_err(error.to_string()),
                }
            }
            Error::Runtime { .. } => PyRuntimeError::new_err(error.to_string()),
        }
    }
}
