//! What very many objects have in common, held once: the site that they are of, most fields of their heads.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::fields::Fields;
use crate::freshness::Allowed;

/// Different ones of a kind; what comes beyond them is not shared.
const MOST: usize = 4096;

/// Of the whole process, whatever caches it has.
static SITES: LazyLock<Pool<Site>> = LazyLock::new(Pool::default);
static COMMONS: LazyLock<Pool<Common>> = LazyLock::new(Pool::default);

/// The part of a key that names where the origin is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Site {
    pub(super) https: bool,
    pub(super) host: Box<str>,
}

/// The part of a head that an origin says of many objects alike.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Common {
    pub(super) allowed: Allowed,
    pub(super) fields: Fields,
}

impl Site {
    pub(super) fn shared(self) -> Arc<Self> {
        SITES.share(self)
    }
}

impl Common {
    pub(super) fn shared(self) -> Arc<Self> {
        COMMONS.share(self)
    }
}

#[derive(Debug)]
struct Pool<T>(Mutex<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    values: HashSet<Arc<T>>,
    /// As many may come before it is seen whether some are not used any more.
    patience: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { values: HashSet::new(), patience: 0 }))
    }
}

impl<T: Eq + Hash> Pool<T> {
    fn share(&self, value: T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.values.get(&value) {
            return known.clone();
        }
        let value = Arc::new(value);
        if known.has_room() {
            known.values.insert(value.clone());
        }
        value
    }
}

impl<T: Eq + Hash> Known<T> {
    fn has_room(&mut self) -> bool {
        if self.values.len() < MOST {
            return true;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.values.retain(|value| Arc::strong_count(value) > 1);
        self.patience = MOST;
        self.values.len() < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_bounded_and_makes_room_for_what_is_used() {
        let pool = Pool::default();
        let used: Vec<Arc<usize>> = (0..MOST / 2).map(|n| pool.share(n)).collect();
        (MOST / 2..MOST).for_each(|n| drop(pool.share(n)));
        let known = || pool.0.lock().unwrap().values.len();
        assert_eq!(known(), MOST);
        let more: Vec<Arc<usize>> = (MOST..2 * MOST).map(|n| pool.share(n)).collect();
        assert_eq!(known(), MOST, "the unused half went, and no more than that came");
        assert!(used.iter().chain(&more[..MOST / 2]).all(|value| Arc::ptr_eq(value, &pool.share(**value))));
        assert!(!Arc::ptr_eq(&more[MOST - 1], &pool.share(2 * MOST - 1)), "not shared, but right");
        assert_eq!(*pool.share(5 * MOST), 5 * MOST);
    }
}
