//! Truth values of torch tensors.

/// A truth value as torch stores it: any byte but 0 is true, where Rust's `bool` must be 0 or 1.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Flag(u8);

impl Flag {
    /// The byte of a truth value.
    #[must_use]
    pub const fn new(value: bool) -> Self {
        Self(value as u8)
    }

    /// Whether it is true.
    #[inline(always)]
    #[must_use]
    pub fn is_set(self) -> bool {
        self.0 != 0
    }
}
