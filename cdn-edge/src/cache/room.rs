//! Where the bytes of chunks lie: small bodies in [`Slabs`], large ones in [`Pages`], and what neither takes in the
//! allocator's heap.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::pages::{self, Pages};
use super::slabs::{self, Slabs};

/// Memory comes in whole pages.
const PAGE: usize = 4096;

#[derive(Debug)]
pub struct Room {
    /// Each is none where the system has none.
    pages: Option<Arc<Pages>>,
    slabs: Option<Arc<Slabs>>,
}

impl Room {
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let pages =
            Pages::new(budget).inspect_err(|error| tracing::warn!(%error, "large answers are copied to sockets"));
        let slabs = Slabs::new(budget).inspect_err(|error| tracing::warn!(%error, "small bodies lie in the heap"));
        Self { pages: pages.ok(), slabs: slabs.ok() }
    }

    /// What of it sockets can take as it is.
    #[must_use]
    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_deref()
    }

    /// Bytes of memory that so many bytes take.
    #[must_use]
    pub fn taken(bytes: usize) -> usize {
        if bytes < pages::LEAST { slabs::taken(bytes) } else { bytes.next_multiple_of(PAGE) }
    }

    /// These, one behind another, in memory of their own.
    #[must_use]
    pub fn gather<'a>(&self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
        self.placed(parts.clone()).unwrap_or_else(|| {
            let mut bytes = BytesMut::with_capacity(parts.clone().map(<[u8]>::len).sum());
            parts.for_each(|part| bytes.extend_from_slice(part));
            bytes.freeze()
        })
    }

    /// The same bytes here. They must be all that holds their memory.
    #[must_use]
    pub fn take_in(&self, bytes: Bytes) -> Bytes {
        self.placed(std::iter::once(&bytes[..])).unwrap_or(bytes)
    }

    fn placed<'a>(&self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Bytes> {
        let in_slabs = |slabs: &Arc<Slabs>| slabs.keep(parts.clone());
        let in_pages = |pages: &Arc<Pages>| pages.keep(parts.clone());
        self.pages.as_ref().and_then(in_pages).or_else(|| self.slabs.as_ref().and_then(in_slabs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::CHUNK;

    #[test]
    fn whatever_takes_them_bytes_stay_the_same() {
        let whole: Vec<u8> = (0..CHUNK as usize + 1).map(|n| (n % 251) as u8).collect();
        for room in [Room::new(1 << 20), Room { pages: None, slabs: None }] {
            for length in [0, 1, 1000, pages::LEAST - 1, pages::LEAST, CHUNK as usize, CHUNK as usize + 1] {
                let (one, other) = whole[..length].split_at(length / 3);
                let gathered = room.gather([one, other].into_iter());
                assert_eq!(gathered, whole[..length]);
                assert_eq!(room.take_in(gathered), whole[..length]);
                assert!(Room::taken(length) >= length);
            }
        }
    }
}
