//! What purges do to what is held, and to what is on its way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::HeaderMap;
use wire::{FieldError, Timestamp};

use super::Library;
use super::names::Names;
use super::wish::Wish;
use crate::cache::variants::Variants;
use crate::freshness::Life;
use crate::key::{CacheKey, KeyRef};
use crate::object::Object;
use crate::purge::order::PurgeOrder;
use crate::purge::records::{Entry, Stamp, Target};
use crate::purge::{Asking, PurgeError};

/// What an order came to.
#[derive(Debug, Clone, Copy)]
pub struct Purged {
    pub purge: u64,
    /// How many of the keys that it names were held.
    pub held: usize,
}

impl Library {
    #[must_use]
    pub fn names(&self) -> Names {
        Names { web: self.origin.is_web(), https: self.https }
    }

    /// Puts an order in force; returns once a restart would not forget it.
    ///
    /// # Errors
    /// [`PurgeError`] where it is refused or not kept.
    pub async fn purge(&self, order: &PurgeOrder, targets: Vec<Target>) -> Result<Purged, PurgeError> {
        let named: Vec<Vec<Arc<CacheKey>>> =
            order.keys.iter().filter_map(|name| self.names().keys(name).ok()).collect();
        let is_held = |key: &Arc<CacheKey>| self.held_under(&key.as_ref().as_ref()).is_some();
        let held = named.iter().filter(|keys| keys.iter().any(is_held)).count();
        let at = Timestamp::now().as_millis();
        self.purged_ms.store(at, Relaxed);
        let entry = self.cache.purges.add(|purge| Entry::new(purge, order.soft, at, targets))?;
        let purge = entry.purge;
        // What is named can be looked up, and gives its room free at once.
        named.iter().flatten().for_each(|key| drop(self.held_under(&key.as_ref().as_ref())));
        self.cache.purges.keep(entry).await?;
        Ok(Purged { purge, held })
    }

    /// What is held under a key and not purged.
    #[must_use]
    pub fn held_under(&self, key: &KeyRef<'_>) -> Option<Variants> {
        let held = self.cache.get(key)?;
        if held.as_slice().iter().all(|object| self.is_current(object)) {
            return Some(held);
        }
        // What was purged has left the index by now.
        self.cache.get(key)
    }

    /// What is held for a request and not purged.
    #[must_use]
    pub(super) fn held_for(&self, key: &KeyRef<'_>, request: &HeaderMap) -> Option<Arc<Object>> {
        self.cache.get(key)?.select(request).filter(|object| self.is_current(object))
    }

    /// Whether an object may still be served, perhaps as stale: false drops it.
    #[must_use]
    pub fn is_current(&self, object: &Arc<Object>) -> bool {
        object.head().has_seen(self.cache.purges.latest()) || self.look_at_purges(object)
    }

    /// Whether an answer that has just come was purged while it was on its way, for good or softly.
    pub(super) fn is_purged_since(&self, object: &Arc<Object>) -> bool {
        !self.is_current(object) || object.head().life().purged_at.is_some()
    }

    /// Whether a purge changes anything of an object that is only looked at.
    #[must_use]
    pub fn is_concerned(&self, object: &Object) -> bool {
        let (head, life) = (object.head(), object.head().life());
        if head.has_seen(self.cache.purges.latest()) {
            return false;
        }
        let purged = self.cache.purges.of(&object.key(), &head.headers());
        purged.hard > life.asked || is_softly(&purged, &life)
    }

    #[cold]
    pub(super) fn look_at_purges(&self, object: &Arc<Object>) -> bool {
        let latest = self.cache.purges.latest();
        let head = object.head().clone();
        let purged = self.cache.purges.of(&object.key(), &head.headers());
        if purged.hard > head.life().asked {
            self.cache.drop_version(object);
            return false;
        }
        if is_softly(&purged, &head.life()) {
            let stale = head.purged(purged.soft_at);
            stale.saw(latest);
            // Only in the place of the very head that was looked at: a newer one is looked at by the next.
            object.refresh_from(&head, stale);
            self.cache.disk.refreshed(object.clone(), false);
        } else {
            head.saw(latest);
        }
        true
    }

    /// Begins a question to the origin of our own.
    #[must_use]
    pub fn ask(&self) -> Asking {
        self.cache.purges.ask()
    }

    /// Whether an answer was purged, for good, after it was asked for.
    #[must_use]
    pub fn is_purged(&self, key: &CacheKey, headers: &HeaderMap, asking: &Asking) -> bool {
        let purges = &self.cache.purges;
        purges.latest() > asking.since() && purges.of(&key.as_ref(), headers).hard > asking.since()
    }

    pub(super) fn is_outdated(&self, wish: &Wish, headers: &HeaderMap) -> bool {
        let changed = self.changed.get(&wish.key).is_some_and(|change| change > wish.since);
        changed || self.is_purged(&wish.key, headers, &wish.asking)
    }

    /// Whether the origin is known to lack it, and that is not purged.
    pub(super) fn is_missing(&self, key: &Arc<CacheKey>) -> bool {
        self.missing.get(key).is_some_and(|asked| self.cache.purges.of_key(key) <= asked)
    }
}

/// Purged softly, which it does not show yet.
fn is_softly(purged: &Stamp, life: &Life) -> bool {
    purged.soft > life.asked && life.purged_at != Some(purged.soft_at)
}

/// An order, read and understood.
///
/// # Errors
/// [`FieldError`] naming what is wrong with it.
pub fn read(body: &[u8], names: Names) -> Result<(PurgeOrder, Vec<Target>), FieldError> {
    let order: PurgeOrder = wire::field::parse(body)?;
    let targets = order.targets(names)?;
    Ok((order, targets))
}
