//! Functions of shared libraries that the process has already loaded.

use std::ffi::{CStr, CString, c_void};

/// A shared library that somebody else loaded and that stays loaded.
pub(crate) struct Library(*mut c_void);

impl Library {
    /// The library of this file name, if the process has loaded one.
    pub(crate) fn loaded(name: &CStr) -> Option<Self> {
        // SAFETY: a C string; RTLD_NOLOAD only looks among the libraries already loaded.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        // Never closed: functions found in it are kept for as long as the process lives.
        (!handle.is_null()).then_some(Self(handle))
    }

    /// The function of this name in the library or in those that it depends on.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to that function.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let name = CString::new(name).ok()?;
        // SAFETY: an open library and a C string.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        // SAFETY: a pointer of F's size, to a function of its type by the caller's promise.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut c_void, F>(&symbol) })
    }
}
