//! The target of an object's key: in the object itself where it is no longer than most are, so that a look at whether
//! it is the one costs no way to another piece of memory.

use smallvec::SmallVec;

/// What an object has room for without taking more memory than the next size that is given out.
const INLINE: usize = 80;

#[derive(Debug)]
pub(super) struct Target(SmallVec<[u8; INLINE]>);

impl Target {
    pub(super) fn new(text: &str) -> Self {
        Self(SmallVec::from_slice(text.as_bytes()))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made of a str")
    }
}
