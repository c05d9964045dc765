//! The C functions under `tch`, defined over torch's stable C interface.
//!
//! `tch` is built with its feature `doc-only`: its C++ half, which fits one torch release, is left out, and those of
//! its functions that this crate reaches are defined here. They call functions that [`load`] finds in the libraries
//! which `import torch` has loaded. So no torch is needed to build, none is linked, and one binary serves every
//! torch from [`OLDEST_TORCH`] on. What older releases lack is in [`older`] alone.

use crate::library::Library;
use libc::{c_char, c_int, c_void};
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// The first torch release that has what is needed.
pub(crate) const OLDEST_TORCH: (u32, u32) = (2, 9);

/// An owned `at::Tensor`, as `tch` and torch's C interface both pass it.
type Handle = *mut c_void;
/// 0 where a call of torch succeeded.
type Status = i32;
/// What failed here before torch was called, so that torch has no reason to give.
const FAILED_HERE: Status = -1;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// Functions of torch's stable C interface that every supported release has.
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) -> $result,)* }
        impl Functions {
            /// Finds all, or names the first that is missing.
            fn find(library: &Library) -> Result<Self, &'static str> {
                Ok(Self { $($name: {
                    // SAFETY: the signature is that of torch's header, which stays as it is across releases.
                    let found = unsafe { library.function(stringify!($name)) };
                    found.ok_or(stringify!($name))?
                },)* })
            }
        }
    };
}
functions! {
    aoti_torch_get_dim: fn(Handle, *mut i64) -> Status;
    aoti_torch_get_sizes: fn(Handle, *mut *const i64) -> Status;
    aoti_torch_get_strides: fn(Handle, *mut *const i64) -> Status;
    aoti_torch_get_dtype: fn(Handle, *mut i32) -> Status;
    aoti_torch_get_device_type: fn(Handle, *mut i32) -> Status;
    aoti_torch_get_data_ptr: fn(Handle, *mut *mut c_void) -> Status;
    aoti_torch_is_contiguous: fn(Handle, *mut bool) -> Status;
    aoti_torch_empty_strided: fn(i64, *const i64, *const i64, i32, i32, i32, *mut Handle) -> Status;
    aoti_torch_copy_: fn(Handle, Handle, i32) -> Status;
    aoti_torch_new_tensor_handle: fn(Handle, *mut Handle) -> Status;
    aoti_torch_delete_tensor_object: fn(Handle) -> Status;
    aoti_torch_device_type_cpu: fn() -> i32;
    aoti_torch_dtype_uint8: fn() -> i32;
    aoti_torch_dtype_int8: fn() -> i32;
    aoti_torch_dtype_int16: fn() -> i32;
    aoti_torch_dtype_int32: fn() -> i32;
    aoti_torch_dtype_int64: fn() -> i32;
    aoti_torch_dtype_float16: fn() -> i32;
    aoti_torch_dtype_float32: fn() -> i32;
    aoti_torch_dtype_float64: fn() -> i32;
    aoti_torch_dtype_bool: fn() -> i32;
    aoti_torch_dtype_bfloat16: fn() -> i32;
}

/// `torch_tensor_from_pyobject` of torch ≥ 2.14: a new handle of a Python tensor.
type FromPython = unsafe extern "C" fn(*mut c_void, *mut Handle) -> Status;
/// `torch_tensor_to_pyobject` of torch ≥ 2.14: a new Python object of a handle, which stays the caller's.
type ToPython = unsafe extern "C" fn(Handle, *mut c_void, *mut *mut c_void) -> Status;
/// `torch_get_num_threads` of torch ≥ 2.10.
type NumThreads = unsafe extern "C" fn(*mut u32) -> Status;
/// `torch_exception_get_what_without_backtrace`, where there is one: why this thread's last call failed.
type Reason = unsafe extern "C" fn() -> *const c_char;

/// Private functions of torch that stand in where a release has no stable one.
///
/// Releases that are out change no more, so what is found here is settled.
mod older {
    use super::{FAILED_HERE, Handle, Library, Status, c_int, c_void, ffi};
    use pyo3::prelude::*;

    /// Passing tensors between Python and C, before torch 2.14.
    pub(super) struct Passing {
        /// `torch._C._aoti.unsafe_alloc_void_ptr_from_tensor`: a capsule of a new handle.
        unwrap: Py<PyAny>,
        /// `THPVariable_Wrap(const at::TensorBase&)`: a new Python object of a handle, which stays the caller's.
        wrap: unsafe extern "C" fn(Handle) -> *mut c_void,
    }

    impl Passing {
        /// Finds both, or names the one that is missing.
        pub(super) fn find(py: Python<'_>) -> Result<Self, &'static str> {
            const UNWRAP: &str = "torch._C._aoti.unsafe_alloc_void_ptr_from_tensor";
            const WRAP: &str = "_Z16THPVariable_WrapRKN2at10TensorBaseE";
            let unwrap = py.import("torch._C").and_then(|c| c.getattr("_aoti")?.getattr(&UNWRAP[15..]));
            let library = Library::loaded(c"libtorch_python.so").ok_or("libtorch_python.so")?;
            Ok(Self {
                unwrap: unwrap.map_err(|_| UNWRAP)?.unbind(),
                // SAFETY: a C++ reference is passed as a pointer, and the result is a `PyObject*`.
                wrap: unsafe { library.function(WRAP) }.ok_or(WRAP)?,
            })
        }

        /// # Safety
        /// `object` must be a live `torch.Tensor`, and the GIL held.
        pub(super) unsafe fn handle_of(&self, object: *mut c_void, handle: &mut Handle) -> Status {
            // SAFETY: two live objects and the null that ends the arguments.
            let capsule = unsafe {
                ffi::PyObject_CallFunctionObjArgs(
                    self.unwrap.as_ptr(),
                    object.cast::<ffi::PyObject>(),
                    std::ptr::null_mut::<ffi::PyObject>(),
                )
            };
            if capsule.is_null() {
                // SAFETY: the failure is told by the status.
                unsafe { ffi::PyErr_Clear() };
                return FAILED_HERE;
            }
            // SAFETY: an unnamed capsule that this function owns; what it holds is ours to free.
            unsafe {
                *handle = ffi::PyCapsule_GetPointer(capsule, std::ptr::null());
                ffi::Py_DecRef(capsule);
                if handle.is_null() {
                    ffi::PyErr_Clear();
                }
            }
            if handle.is_null() { FAILED_HERE } else { 0 }
        }

        /// # Safety
        /// `tensor` must be a live handle, and the GIL held.
        pub(super) unsafe fn object_of(&self, tensor: Handle, object: &mut *mut c_void) -> Status {
            // SAFETY: a live `at::Tensor`.
            *object = unsafe { (self.wrap)(tensor) };
            if object.is_null() { FAILED_HERE } else { 0 }
        }
    }

    /// `at::get_num_threads()`, before torch 2.10.
    pub(super) type NumThreads = unsafe extern "C" fn() -> c_int;
    pub(super) const NUM_THREADS: &str = "_ZN2at15get_num_threadsEv";
}

/// A function of today's releases, or what stands in for it in older ones.
enum Since<Stable, Older> {
    Stable(Stable),
    Older(Older),
}

/// What [`load`] found.
struct Torch {
    functions: Functions,
    passing: Since<(FromPython, ToPython), older::Passing>,
    num_threads: Since<NumThreads, older::NumThreads>,
    reason: Option<Reason>,
    /// `torch._C.TensorBase`, kept for ever.
    tensor_type: Py<PyAny>,
    /// Torch's number of each dtype beside `tch`'s.
    dtypes: [(i32, c_int); 10],
}

static TORCH: OnceLock<Torch> = OnceLock::new();

/// Finds torch, once, as the module is imported.
///
/// # Errors
/// `ImportError` that names what is missing, the torch found and the range supported.
pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
    let version = py.import("torch")?.getattr("__version__")?.str()?.to_string();
    let (major, minor) = OLDEST_TORCH;
    let refused = |why: &str| {
        PyImportError::new_err(format!(
            "dnachunk runs with torch {major}.{minor} and later, but torch {version} {why}"
        ))
    };
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()).is_some_and(|running| running < OLDEST_TORCH) {
        return Err(refused("is installed"));
    }
    let torch = find(py).map_err(|missing| refused(&format!("has no {missing}")))?;
    let _first = TORCH.set(torch);
    Ok(())
}

/// Looks everything up, or names what is missing.
fn find(py: Python<'_>) -> Result<Torch, &'static str> {
    let library = Library::loaded(c"libtorch_cpu.so").ok_or("libtorch_cpu.so")?;
    let functions = Functions::find(&library)?;
    // SAFETY: the signatures are those of torch's headers.
    let (from_python, to_python, num_threads, cxx_num_threads, reason) = unsafe {
        (
            library.function::<FromPython>("torch_tensor_from_pyobject"),
            library.function::<ToPython>("torch_tensor_to_pyobject"),
            library.function::<NumThreads>("torch_get_num_threads"),
            library.function::<older::NumThreads>(older::NUM_THREADS),
            library.function::<Reason>("torch_exception_get_what_without_backtrace"),
        )
    };
    let passing = match from_python.zip(to_python) {
        Some(stable) => Since::Stable(stable),
        None => Since::Older(older::Passing::find(py)?),
    };
    let num_threads = num_threads
        .map(Since::Stable)
        .or(cxx_num_threads.map(Since::Older))
        .ok_or("torch_get_num_threads")?;
    let tensor_type = py.import("torch._C").and_then(|c| c.getattr("TensorBase"));
    // SAFETY: functions without arguments that return constants.
    let dtypes = unsafe {
        [
            ((functions.aoti_torch_dtype_float32)(), 6),
            ((functions.aoti_torch_dtype_bfloat16)(), 15),
            ((functions.aoti_torch_dtype_int64)(), 4),
            ((functions.aoti_torch_dtype_bool)(), 11),
            ((functions.aoti_torch_dtype_float64)(), 7),
            ((functions.aoti_torch_dtype_float16)(), 5),
            ((functions.aoti_torch_dtype_uint8)(), 0),
            ((functions.aoti_torch_dtype_int8)(), 1),
            ((functions.aoti_torch_dtype_int16)(), 2),
            ((functions.aoti_torch_dtype_int32)(), 3),
        ]
    };
    Ok(Torch {
        functions,
        passing,
        num_threads,
        reason,
        tensor_type: tensor_type.map_err(|_| "torch._C.TensorBase")?.unbind(),
        dtypes,
    })
}

thread_local! {
    /// Why this thread's last call failed, for `tch`, which asks after every call; null where it did not.
    static LAST_ERROR: Cell<*mut c_char> = const { Cell::new(std::ptr::null_mut()) };
}

fn set_error(message: &str) {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: strdup copies a C string; `tch` frees the copy with `free`.
    let old = LAST_ERROR.replace(unsafe { libc::strdup(message.as_ptr()) });
    // SAFETY: null, or a copy of our own that nobody has taken.
    unsafe { libc::free(old.cast()) };
}

/// Makes a call of torch; its failure becomes the error that `tch` asks for.
fn call(name: &str, body: impl FnOnce(&Torch) -> Status) {
    let Some(torch) = TORCH.get() else { return set_error("torch is not loaded") };
    let reason = match body(torch) {
        0 => return,
        FAILED_HERE => None,
        _ => torch.reason,
    };
    // SAFETY: it returns a C string that lives until this thread's next call, or null.
    let reason = reason.map(|reason| unsafe { reason() }).filter(|reason| !reason.is_null());
    // SAFETY: as above.
    let reason = reason.map(|reason| unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned());
    set_error(&reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| format!("{name} failed")));
}

#[unsafe(no_mangle)]
extern "C" fn get_and_reset_last_err() -> *mut c_char {
    LAST_ERROR.replace(std::ptr::null_mut())
}

// In what follows handles are live tensors that `tch` owns or borrows, and pointers for results are valid: these
// functions are called by `tch` alone.

#[unsafe(no_mangle)]
unsafe extern "C" fn at_dim(tensor: Handle) -> usize {
    let mut dim = 0_i64;
    // SAFETY: a live tensor and a local.
    call("at_dim", |torch| unsafe { (torch.functions.aoti_torch_get_dim)(tensor, &raw mut dim) });
    dim as usize
}

/// Copies the `dim` numbers that a getter of torch points to.
///
/// # Safety
/// `tensor` must be live, and `out` have room for as many numbers as it has dimensions.
unsafe fn copy_numbers(
    name: &str,
    tensor: Handle,
    out: *mut i64,
    getter: impl FnOnce(&Functions) -> unsafe extern "C" fn(Handle, *mut *const i64) -> Status,
) {
    let mut numbers = std::ptr::null();
    // SAFETY: a live tensor and a local.
    call(name, |torch| unsafe { getter(&torch.functions)(tensor, &raw mut numbers) });
    if !numbers.is_null() {
        // SAFETY: torch points to one number for each dimension, the caller has room for them.
        unsafe { std::ptr::copy_nonoverlapping(numbers, out, at_dim(tensor)) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn at_shape(tensor: Handle, out: *mut i64) {
    // SAFETY: `tch` allocates `at_dim` numbers.
    unsafe { copy_numbers("at_shape", tensor, out, |functions| functions.aoti_torch_get_sizes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn at_stride(tensor: Handle, out: *mut i64) {
    // SAFETY: `tch` allocates `at_dim` numbers.
    unsafe { copy_numbers("at_stride", tensor, out, |functions| functions.aoti_torch_get_strides) }
}

/// −1, which `tch` takes for an error, where the dtype is none that a kernel reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn at_scalar_type(tensor: Handle) -> c_int {
    let mut kind = -1;
    call("at_scalar_type", |torch| {
        let mut dtype = -1;
        // SAFETY: a live tensor and a local.
        let status = unsafe { (torch.functions.aoti_torch_get_dtype)(tensor, &raw mut dtype) };
        kind = torch.dtypes.iter().find(|known| known.0 == dtype).map_or(-1, |known| known.1);
        status
    });
    kind
}

/// `tch`'s number of the CPU, or of a device that is another (Vulkan): no kernel asks which.
#[unsafe(no_mangle)]
unsafe extern "C" fn at_device(tensor: Handle) -> c_int {
    let mut device = -3;
    call("at_device", |torch| {
        let mut kind = -1;
        // SAFETY: a live tensor and a local.
        let status = unsafe { (torch.functions.aoti_torch_get_device_type)(tensor, &raw mut kind) };
        // SAFETY: it returns a constant.
        if kind == unsafe { (torch.functions.aoti_torch_device_type_cpu)() } {
            device = -1;
        }
        status
    });
    device
}

#[unsafe(no_mangle)]
unsafe extern "C" fn at_data_ptr(tensor: Handle) -> *mut c_void {
    let mut pointer = std::ptr::null_mut();
    // SAFETY: a live tensor and a local.
    call("at_data_ptr", |torch| unsafe {
        (torch.functions.aoti_torch_get_data_ptr)(tensor, &raw mut pointer)
    });
    pointer
}

#[unsafe(no_mangle)]
unsafe extern "C" fn at_free(tensor: Handle) {
    // SAFETY: `tch` gives up the handle.
    call("at_free", |torch| unsafe { (torch.functions.aoti_torch_delete_tensor_object)(tensor) });
}

#[unsafe(no_mangle)]
extern "C" fn at_get_num_threads() -> c_int {
    let mut number = 1_u32;
    call("at_get_num_threads", |torch| match torch.num_threads {
        // SAFETY: a local.
        Since::Stable(get) => unsafe { get(&raw mut number) },
        Since::Older(get) => {
            // SAFETY: it has no arguments.
            number = u32::try_from(unsafe { get() }).unwrap_or(1);
            0
        }
    });
    number as c_int
}

/// On the CPU, the only device that a kernel allocates on.
#[unsafe(no_mangle)]
unsafe extern "C" fn atg_empty(
    out: *mut Handle,
    size: *const i64,
    size_len: c_int,
    kind: c_int,
    _device: c_int,
) {
    // SAFETY: `tch` passes a slice's parts.
    let size = unsafe { std::slice::from_raw_parts(size, size_len as usize) };
    let mut strides = vec![1_i64; size.len()];
    for axis in (1..size.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(size[axis].max(1));
    }
    call("atg_empty", |torch| {
        let Some(dtype) = torch.dtypes.iter().find(|known| known.1 == kind) else { return FAILED_HERE };
        // SAFETY: two slices of `size_len` numbers, and a place for the new handle.
        unsafe {
            let cpu = (torch.functions.aoti_torch_device_type_cpu)();
            let (size, strides) = (size.as_ptr(), strides.as_ptr());
            (torch.functions.aoti_torch_empty_strided)(
                i64::from(size_len),
                size,
                strides,
                dtype.0,
                cpu,
                0,
                out,
            )
        }
    });
}

/// A second handle of the same tensor.
#[unsafe(no_mangle)]
unsafe extern "C" fn atg_alias(out: *mut Handle, tensor: Handle) {
    // SAFETY: a live tensor, and a place for the new handle.
    call("atg_alias", |torch| unsafe { (torch.functions.aoti_torch_new_tensor_handle)(tensor, out) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn atg_contiguous(out: *mut Handle, tensor: Handle) {
    let mut is_contiguous = false;
    // SAFETY: a live tensor and a local.
    call("atg_contiguous", |torch| unsafe {
        (torch.functions.aoti_torch_is_contiguous)(tensor, &raw mut is_contiguous)
    });
    // SAFETY: the handles are the caller's; the shape has a number for each dimension; the copy is into a new
    // tensor, or into null, where allocating it failed, and then not made.
    unsafe {
        if is_contiguous {
            return atg_alias(out, tensor);
        }
        let mut shape = vec![0_i64; at_dim(tensor)];
        at_shape(tensor, shape.as_mut_ptr());
        let mut copy = std::ptr::null_mut();
        atg_empty(&raw mut copy, shape.as_ptr(), shape.len() as c_int, at_scalar_type(tensor), -1);
        if copy.is_null() {
            return;
        }
        call("atg_contiguous", |torch| {
            let status = (torch.functions.aoti_torch_copy_)(copy, tensor, 0);
            if status == 0 {
                *out = copy;
            } else {
                (torch.functions.aoti_torch_delete_tensor_object)(copy);
            }
            status
        });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thp_variable_check(object: *mut c_void) -> bool {
    TORCH.get().is_some_and(|torch| {
        let tensor_type = torch.tensor_type.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: a live object, whose type is one, and a type; the GIL is held by whoever has the object.
        unsafe { ffi::PyType_IsSubtype(ffi::Py_TYPE(object.cast()), tensor_type) != 0 }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thp_variable_unpack(object: *mut c_void) -> Handle {
    let mut handle = std::ptr::null_mut();
    // SAFETY: `tch` has checked that the object is a tensor; the GIL is held by whoever has the object.
    call("thp_variable_unpack", |torch| unsafe {
        match &torch.passing {
            Since::Stable((from_python, _)) => from_python(object, &raw mut handle),
            Since::Older(passing) => passing.handle_of(object, &mut handle),
        }
    });
    handle
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thp_variable_wrap(tensor: Handle) -> *mut c_void {
    let mut object = std::ptr::null_mut();
    // SAFETY: a live tensor; the caller, who makes a Python object, holds the GIL.
    call("thp_variable_wrap", |torch| unsafe {
        match &torch.passing {
            Since::Stable((_, to_python)) => to_python(tensor, std::ptr::null_mut(), &raw mut object),
            Since::Older(passing) => passing.object_of(tensor, &mut object),
        }
    });
    object
}
