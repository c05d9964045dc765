//! Torch tensors in and out of Rust: the only file, beside the bindings, that names `tch`.

use crate::error::{Error, Result};
use crate::flag::Flag;
use crate::rows::Rows;
use half::{bf16, f16};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tch::{Kind, Tensor};

/// A `torch.Tensor` argument or result.
pub struct PyTensor(pub Tensor);

impl<'a, 'py> FromPyObject<'a, 'py> for PyTensor {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let not_a_tensor = || {
            let kind = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
            pyo3::exceptions::PyTypeError::new_err(format!("expected a torch.Tensor, got {kind}"))
        };
        // SAFETY: the pointer is a live Python object for the time of the call.
        match unsafe { Tensor::pyobject_unpack(object.as_ptr().cast()) } {
            Ok(Some(tensor)) if tensor.f_kind().is_ok() && is_strided(object)? => Ok(Self(tensor)),
            Ok(Some(_)) => {
                let (dtype, layout) = (object.getattr("dtype")?, object.getattr("layout")?);
                let nested = if object.getattr("is_nested")?.is_truthy()? { ", nested" } else { "" };
                let message = format!(
                    "expected a strided torch.Tensor of a common dtype, got {dtype}, {layout}{nested}"
                );
                Err(pyo3::exceptions::PyTypeError::new_err(message))
            }
            Ok(None) => Err(not_a_tensor()),
            Err(error) => Err(torch_error("tensor", &error).into()),
        }
    }
}

/// Whether a tensor has strides: `tch` panics where one that has none is asked for them.
fn is_strided(tensor: Borrowed<'_, '_, PyAny>) -> PyResult<bool> {
    static STRIDED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = tensor.py();
    let is_strided = tensor.getattr(intern!(py, "layout"))?.is(STRIDED.import(py, "torch", "strided")?);
    Ok(is_strided && !tensor.getattr(intern!(py, "is_nested"))?.is_truthy()?)
}

impl<'py> IntoPyObject<'py> for PyTensor {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let pointer = self.0.pyobject_wrap().map_err(|error| torch_error("tensor", &error))?;
        // SAFETY: torch returns a new reference.
        unsafe { Bound::from_owned_ptr_or_err(py, pointer.cast()) }
    }
}

/// A Rust type that a torch tensor can store. Truth values are written as `bool` and read as [`Flag`].
pub trait Element: Copy + Send + Sync + 'static {
    /// Torch's name for it.
    const KIND: Kind;
}

macro_rules! elements {
    ($($rust:ty => $kind:expr),*) => { $(impl Element for $rust { const KIND: Kind = $kind; })* };
}
elements!(f32 => Kind::Float, f64 => Kind::Double, bf16 => Kind::BFloat16, f16 => Kind::Half,
          i64 => Kind::Int64, u8 => Kind::Uint8, bool => Kind::Bool, Flag => Kind::Bool);

/// Runs `$body` with `$T` bound to the Rust type of a floating-point tensor, or returns a type error.
#[macro_export]
macro_rules! with_float {
    ($op:expr, $argument:expr, $kind:expr, $T:ident => $body:expr) => {
        match $kind {
            tch::Kind::Float => {
                type $T = f32;
                $body
            }
            tch::Kind::Double => {
                type $T = f64;
                $body
            }
            tch::Kind::BFloat16 => {
                type $T = half::bf16;
                $body
            }
            tch::Kind::Half => {
                type $T = half::f16;
                $body
            }
            other => Err($crate::error::Error::type_(
                $op,
                $argument,
                "float32, float64, bfloat16 or float16",
                $crate::tensor::dtype_name(other),
            )),
        }
    };
}

/// Torch's Python name of a dtype.
#[must_use]
pub fn dtype_name(kind: Kind) -> String {
    match kind {
        Kind::Float => "float32".into(),
        Kind::Double => "float64".into(),
        Kind::Half => "float16".into(),
        Kind::BFloat16 => "bfloat16".into(),
        Kind::Int64 => "int64".into(),
        Kind::Int => "int32".into(),
        Kind::Uint8 => "uint8".into(),
        Kind::Bool => "bool".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// A contiguous CPU tensor of a checked dtype and rank, for the time of a kernel.
pub struct Input<T, const RANK: usize> {
    tensor: Tensor,
    shape: [usize; RANK],
    _element: std::marker::PhantomData<T>,
}

impl<T: Element, const RANK: usize> Input<T, RANK> {
    /// Checks device, dtype and rank; copies only what is not contiguous.
    pub fn new(op: &'static str, argument: &'static str, tensor: &PyTensor) -> Result<Self> {
        let (tensor, shape) = check::<T, RANK>(op, argument, tensor)?;
        let tensor = tensor.f_contiguous().map_err(|error| torch_error(op, &error))?;
        expect_data(op, argument, &tensor, shape)?;
        Ok(Self { tensor, shape, _element: std::marker::PhantomData })
    }

    /// Checks the shape too, where it is known beforehand.
    pub fn with_shape(
        op: &'static str,
        argument: &'static str,
        tensor: &PyTensor,
        shape: [usize; RANK],
    ) -> Result<Self> {
        Self::new(op, argument, tensor)?.expect_shape(op, argument, shape)
    }

    /// Fails unless the shape is the expected one.
    pub fn expect_shape(
        self,
        op: &'static str,
        argument: &'static str,
        expected: [usize; RANK],
    ) -> Result<Self> {
        check_shape(op, argument, self.shape, expected)?;
        Ok(self)
    }

    /// The dimensions.
    #[must_use]
    pub fn shape(&self) -> [usize; RANK] {
        self.shape
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        let len = self.shape.iter().product();
        if len == 0 {
            return &[];
        }
        // SAFETY: a contiguous CPU tensor of this dtype, kept alive by `self`.
        unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast::<T>(), len) }
    }
}

/// A CPU tensor `[B, N, D]` of a checked dtype whose rows are contiguous, for the time of a kernel.
pub struct RowsInput<T> {
    tensor: Tensor,
    shape: [usize; 3],
    strides: [usize; 2],
    _element: std::marker::PhantomData<T>,
}

impl<T: Element> RowsInput<T> {
    /// Checks device, dtype and rank; copies only if the elements of a row are apart.
    pub fn new(op: &'static str, argument: &'static str, tensor: &PyTensor) -> Result<Self> {
        let (tensor, shape) = check::<T, 3>(op, argument, tensor)?;
        let is_apart = shape[2] > 1 && tensor.stride()[2] != 1;
        let tensor = if is_apart { tensor.f_contiguous() } else { tensor.f_alias() };
        let tensor = tensor.map_err(|error| torch_error(op, &error))?;
        expect_data(op, argument, &tensor, shape)?;
        let [batch_stride, row_stride, _] = of_rank(op, argument, tensor.stride())?;
        Ok(Self { tensor, shape, strides: [batch_stride, row_stride], _element: std::marker::PhantomData })
    }

    /// Checks the shape too, where it is known beforehand.
    pub fn with_shape(
        op: &'static str,
        argument: &'static str,
        tensor: &PyTensor,
        shape: [usize; 3],
    ) -> Result<Self> {
        let rows = Self::new(op, argument, tensor)?;
        check_shape(op, argument, rows.shape, shape)?;
        Ok(rows)
    }

    /// The dimensions.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The elements.
    #[must_use]
    pub fn as_rows(&self) -> Rows<'_, T> {
        let ([batch, length, channels], [batch_stride, row_stride]) = (self.shape, self.strides);
        if self.shape.contains(&0) {
            return Rows::new(&[], 0, 0);
        }
        let len = (batch - 1) * batch_stride + (length - 1) * row_stride + channels;
        // SAFETY: from the first to the last element of a CPU tensor of this dtype, kept alive by `self`.
        let elements = unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast::<T>(), len) };
        Rows::new(elements, batch_stride, row_stride)
    }
}

/// The tensor and its dimensions, if device, dtype and rank are as they must be.
fn check<'a, T: Element, const RANK: usize>(
    op: &'static str,
    argument: &'static str,
    tensor: &'a PyTensor,
) -> Result<(&'a Tensor, [usize; RANK])> {
    let tensor = &tensor.0;
    if tensor.device() != tch::Device::Cpu {
        return Err(Error::value(op, argument, "on the CPU", device_name(tensor)));
    }
    if tensor.kind() != T::KIND {
        return Err(Error::type_(op, argument, dtype_name(T::KIND), dtype_name(tensor.kind())));
    }
    Ok((tensor, of_rank(op, argument, tensor.size())?))
}

/// One number for each of the `RANK` dimensions of a tensor.
fn of_rank<const RANK: usize>(
    op: &'static str,
    argument: &'static str,
    numbers: Vec<i64>,
) -> Result<[usize; RANK]> {
    let numbers = <[i64; RANK]>::try_from(numbers);
    numbers
        .map(|numbers| numbers.map(|number| number as usize))
        .map_err(|numbers| Error::value(op, argument, format!("of rank {RANK}"), format!("{numbers:?}")))
}

fn check_shape<const RANK: usize>(
    op: &'static str,
    argument: &'static str,
    shape: [usize; RANK],
    expected: [usize; RANK],
) -> Result<()> {
    if shape == expected {
        Ok(())
    } else {
        Err(Error::value(op, argument, format!("{expected:?}"), format!("{shape:?}")))
    }
}

/// Fails where a tensor of elements has no memory.
fn expect_data<const RANK: usize>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    shape: [usize; RANK],
) -> Result<()> {
    if !shape.contains(&0) && tensor.data_ptr().is_null() {
        return Err(Error::value(op, argument, "a tensor with data", "one without, such as a fake tensor"));
    }
    Ok(())
}

/// Torch's name of the device that a tensor is on, such as `cuda:0` or `meta`.
fn device_name(tensor: &Tensor) -> String {
    let name = Python::attach(|py| -> PyResult<String> {
        let object = tensor.pyobject_wrap().map_err(|error| torch_error("tensor", &error))?;
        // SAFETY: torch returns a new reference.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, object.cast()) }?;
        Ok(object.getattr(intern!(py, "device"))?.str()?.to_string())
    });
    name.unwrap_or_else(|_| "on another device".to_owned())
}

/// Real positions of each of `batch` sequences, each checked to be in `[0, length]`.
pub fn lengths_of(
    op: &'static str,
    lengths: &PyTensor,
    batch: usize,
    length: usize,
) -> Result<Input<i64, 1>> {
    let lengths = Input::<i64, 1>::with_shape(op, "lengths", lengths, [batch])?;
    match lengths.as_slice().iter().find(|&&real| !(0..=length as i64).contains(&real)) {
        None => Ok(lengths),
        Some(wrong) => Err(Error::value(op, "lengths", format!("in [0, {length}]"), wrong.to_string())),
    }
}

/// A new contiguous CPU tensor that a kernel fills completely.
pub struct Output<T> {
    tensor: Tensor,
    len: usize,
    _element: std::marker::PhantomData<T>,
}

impl<T: Element> Output<T> {
    /// Allocates without initialising: the kernel writes every element.
    pub fn new<const RANK: usize>(op: &'static str, shape: [usize; RANK]) -> Result<Self> {
        let size = shape.map(|length| length as i64);
        let tensor =
            Tensor::f_empty(size, (T::KIND, tch::Device::Cpu)).map_err(|error| torch_error(op, &error))?;
        let mut output = Self { tensor, len: shape.iter().product(), _element: std::marker::PhantomData };
        prefer_huge_pages(output.as_mut_slice());
        Ok(output)
    }

    /// The elements in row-major order.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: a fresh contiguous tensor of this dtype that nothing else refers to.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast::<T>(), self.len) }
    }

    /// Hands the tensor to Python.
    #[must_use]
    pub fn into_tensor(self) -> PyTensor {
        PyTensor(self.tensor)
    }
}

/// Asks the system for large pages: handing out small ones can take longer than filling them.
fn prefer_huge_pages<T>(memory: &mut [T]) {
    const PAGE: usize = 2 << 20;
    let range = memory.as_mut_ptr_range();
    let (start, end) = (range.start.addr().next_multiple_of(PAGE), range.end.addr() / PAGE * PAGE);
    if start < end {
        let aligned = range.start.cast::<libc::c_void>().wrapping_byte_add(start - range.start.addr());
        // SAFETY: whole pages inside memory that this slice owns; the advice changes no content, and refusal no result.
        unsafe { libc::madvise(aligned, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Number of threads torch would use, hence ours.
#[must_use]
pub fn num_threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

pub(crate) fn torch_error(op: &'static str, error: &tch::TchError) -> Error {
    Error::Runtime { op, message: error.to_string() }
}
