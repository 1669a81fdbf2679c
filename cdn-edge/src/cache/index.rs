//! What is held, by key. It bounds the disk: an object weighs what it has there, and what is not worth its room goes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::fifo::{Change, S3Fifo, Weigh};
use super::variants::Variants;
use crate::key::KeyRef;
use crate::object::Object;

/// Weights have 32 bits, and a file takes whole pages anyway.
const PAGE: u64 = 4096;

pub struct Index {
    held: S3Fifo<Variants>,
    /// Seeded, for clients choose keys.
    hasher: RandomState,
    ended: Box<dyn Fn(Arc<Object>) + Send + Sync>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("objects", &self.held.len()).finish_non_exhaustive()
    }
}

impl Weigh for Variants {
    fn weight(&self) -> u32 {
        let pages = |object: &Arc<Object>| 1 + object.disk_bytes() / PAGE;
        u32::try_from(self.as_slice().iter().map(pages).sum::<u64>()).unwrap_or(u32::MAX)
    }

    fn in_use(&self) -> bool {
        self.as_slice().iter().any(|object| object.is_read())
    }
}

fn is(key: KeyRef<'_>) -> impl Fn(&Variants) -> bool + '_ {
    move |held| held.as_slice()[0].key() == key
}

impl Index {
    /// Evicted objects are handed to `ended`, which must not block: whoever stores something evicts.
    pub fn new(disk_bytes: u64, ended: impl Fn(Arc<Object>) + Send + Sync + 'static) -> Self {
        let held = S3Fifo::new((disk_bytes / PAGE).max(1));
        Self { held, hasher: RandomState::new(), ended: Box::new(ended) }
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
    fn hash(&self, key: &KeyRef<'_>) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn change(&self, key: &KeyRef<'_>, with: impl FnOnce(Option<&Variants>) -> Change<Variants>) {
        for evicted in self.held.change(self.hash(key), is(*key), with) {
            evicted.as_slice().iter().filter(|object| object.end()).cloned().for_each(&self.ended);
        }
    }

    #[must_use]
    pub fn get(&self, key: &KeyRef<'_>) -> Option<Variants> {
        self.held.get(self.hash(key), is(*key))
    }

    /// Makes this version the one that its key and selectors name; those before it that are now ended.
    pub fn put(&self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        let mut before = Vec::new();
        self.change(&object.key(), |held| {
            let (with, out) = held.map_or((Variants::One(object.clone()), Vec::new()), |held| held.with(object));
            before = out;
            Change::Put(with)
        });
        before.retain(|before| before.end());
        before
    }

    /// Takes this version out, unless another took its place. True where it was held.
    pub fn take_out(&self, object: &Arc<Object>) -> bool {
        let mut was_held = false;
        self.change(&object.key(), |held| {
            let Some(held) = held.filter(|held| held.contains(object.id)) else { return Change::None };
            was_held = true;
            held.without(object.id).map_or(Change::Remove, Change::Put)
        });
        was_held
    }

    /// Weighs an object again after its bytes on disk changed, unless another took its place.
    pub fn weigh_again(&self, object: &Arc<Object>) {
        self.change(&object.key(), |held| match held {
            Some(held) if held.contains(object.id) => Change::Put(held.clone()),
            _ => Change::None,
        });
    }

    /// What is held under each key, as it is when its turn comes.
    pub fn iter(&self) -> impl Iterator<Item = Variants> + '_ {
        self.held.values()
    }

    /// Keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes of the budget that are used.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.held.weight() * PAGE
    }
}
