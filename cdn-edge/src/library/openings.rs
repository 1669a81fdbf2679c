//! What is being asked of the origin for the first time or again, and who may wait for it.
//!
//! Whether two requests would get the same answer, `Vary` alone says, and of that only what is known: from
//! what is held under the key, or from what was held when the first of them came. What is held may go in the
//! midst of an opening, so each opening keeps what it knew.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use super::open::Opening;
use crate::key::CacheKey;
use crate::vary::{self, Selectors};

/// A key, and the purge that it was last named by: who comes after a purge does not wait for what was asked
/// for before it.
type Name = (Arc<CacheKey>, u64);

/// At most one for each key and what is known to tell its answers apart; each ends with the origin's timeouts,
/// and each is waited for by a connection or a warm order.
#[derive(Debug, Default)]
pub(super) struct Openings {
    listed: Mutex<HashMap<Name, Vec<Listed>>>,
    listings: AtomicU64,
}

#[derive(Debug)]
struct Listed {
    listing: u64,
    /// As the origin gets them.
    request: HeaderMap,
    /// What answers under this key vary by, as far as it was known.
    varies: Selectors,
    opening: Opening,
}

impl Listed {
    fn serves(&self, request: &HeaderMap, varies: &Selectors) -> bool {
        let same = |by: &Selectors| vary::secondary(by, &self.request) == vary::secondary(by, request);
        same(&self.varies) && same(varies)
    }
}

/// Held while it is settled whether a request waits or opens.
pub(super) struct Looking<'a>(MutexGuard<'a, HashMap<Name, Vec<Listed>>>, &'a Arc<Openings>);

/// An opening's place among the others; it is taken out however its task ends.
pub(super) struct Listing {
    openings: Arc<Openings>,
    name: Name,
    number: u64,
}

impl Openings {
    pub(super) fn look(self: &Arc<Self>) -> Looking<'_> {
        Looking(self.listed.lock().unwrap_or_else(PoisonError::into_inner), self)
    }
}

impl Looking<'_> {
    /// The opening whose answer this request would get, too. `varies` is what is known now.
    pub(super) fn find(&self, name: &Name, request: &HeaderMap, varies: &Selectors) -> Option<Opening> {
        let listed = self.0.get(name)?.iter().find(|listed| listed.serves(request, varies))?;
        Some(listed.opening.clone())
    }

    pub(super) fn list(&mut self, name: Name, request: HeaderMap, mut varies: Selectors, opening: Opening) -> Listing {
        let number = self.1.listings.fetch_add(1, Relaxed);
        let beside = self.0.entry(name.clone()).or_default();
        if varies.is_empty() {
            varies = beside.iter().map(|listed| &listed.varies).find(|by| !by.is_empty()).cloned().unwrap_or_default();
        }
        beside.push(Listed { listing: number, request, varies, opening });
        Listing { openings: self.1.clone(), name, number }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut listed = self.openings.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut beside) = listed.entry(self.name.clone()) else { return };
        beside.get_mut().retain(|listed| listed.listing != self.number);
        if beside.get().is_empty() {
            beside.remove();
        }
    }
}
