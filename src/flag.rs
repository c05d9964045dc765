//! Truth values of torch tensors.

/// A truth value as torch stores it: any byte but 0 is true, where Rust's `bool` must be 0 or 1.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Flag(u8);

impl Flag {
    /// Whether it is true.
    #[inline(always)]
    #[must_use]
    pub fn is_set(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for Flag {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}
