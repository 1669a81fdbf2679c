//! What is held, by key. It bounds the disk: an object weighs what it has there, and what is not worth its room goes.
//!
//! Of many objects most are at rest ([`Held::AtRest`]). One that is asked for is waked under its shard's lock, once for
//! all who ask, and is an [`Object`] until nobody has it and nobody has asked for it between two rounds of a
//! [`Hand`].

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::fifo::{Change, Hand, S3Fifo, SHARDS};
use super::held::{Held, PAGE};
use super::variants::Variants;
use crate::key::KeyRef;
use crate::object::Object;

/// Awake, an object takes so many bytes more than at rest. To wake one costs its hit most of a microsecond, and to put it
/// back as much again.
const AWAKE_BYTES: u64 = 240;

/// What being awake may take of the memory for chunks, beyond it: a tenth.
const AWAKE_SHARE: u64 = 10;

pub struct Index {
    held: S3Fifo<Held>,
    /// Seeded, for clients choose keys.
    hasher: RandomState,
    ended: Box<dyn Fn(Arc<Object>) + Send + Sync>,
    /// Keys with one version, which is awake. Changed under the lock of the version's shard.
    awake: AtomicUsize,
    most_awake: usize,
    hand: Mutex<Hand>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("objects", &self.held.len()).finish_non_exhaustive()
    }
}

fn is(key: KeyRef<'_>) -> impl Fn(&Held) -> bool + '_ {
    move |held| held.is_of(key)
}

impl Index {
    /// Evicted objects are handed to `ended`, which must not block: whoever stores something evicts. `memory_bytes` are
    /// the budget for chunks, by which it is told how much memory there is.
    pub fn new(disk_bytes: u64, memory_bytes: u64, ended: impl Fn(Arc<Object>) + Send + Sync + 'static) -> Self {
        let most_awake = usize::try_from(memory_bytes / AWAKE_SHARE / AWAKE_BYTES).unwrap_or(usize::MAX);
        Self {
            held: S3Fifo::new((disk_bytes / PAGE).max(1)),
            hasher: RandomState::new(),
            ended: Box::new(ended),
            awake: AtomicUsize::new(0),
            most_awake,
            hand: Mutex::default(),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
    fn hash(&self, key: &KeyRef<'_>) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn change(&self, key: &KeyRef<'_>, with: impl FnOnce(Option<&Held>) -> Change<Variants>) {
        let evicted = self.held.change(self.hash(key), is(*key), |held| {
            let change = match with(held) {
                Change::None => return Change::None,
                Change::Put(variants) => Change::Put(Held::from(variants)),
                Change::Remove => Change::Remove,
            };
            if matches!(&change, Change::Put(held) if held.is_one()) {
                self.awake.fetch_add(1, Relaxed);
            }
            if held.is_some_and(Held::is_one) {
                self.awake.fetch_sub(1, Relaxed);
            }
            change
        });
        for evicted in evicted {
            if evicted.is_one() {
                self.awake.fetch_sub(1, Relaxed);
            }
            evicted.waked().as_slice().iter().filter(|object| object.end()).cloned().for_each(&self.ended);
        }
    }

    #[must_use]
    pub fn get(&self, key: &KeyRef<'_>) -> Option<Variants> {
        let hash = self.hash(key);
        let awake = self.held.look(hash, is(*key), Held::awake)?;
        // At rest, it may have been waked by another, or be gone, before we have the lock.
        awake.or_else(|| self.held.alter(hash, is(*key), |held| self.wake(held)))
    }

    fn wake(&self, held: &mut Held) -> Variants {
        let variants = held.waked();
        if let Held::AtRest(_) = held {
            self.awake.fetch_add(1, Relaxed);
            *held = variants.clone().into();
        }
        variants
    }

    /// Makes this version the one that its key and selectors name; those before it that are now ended.
    pub fn put(&self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        let mut before = Vec::new();
        self.change(&object.key(), |held| {
            let (with, out) =
                held.map_or((Variants::One(object.clone()), Vec::new()), |held| held.waked().with(object));
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
            held.waked().without(object.id).map_or(Change::Remove, Change::Put)
        });
        was_held
    }

    /// Weighs an object again after its bytes on disk changed, unless another took its place.
    pub fn weigh_again(&self, object: &Arc<Object>) {
        self.change(&object.key(), |held| match held {
            Some(held) if held.contains(object.id) => held.awake().map_or(Change::None, Change::Put),
            _ => Change::None,
        });
    }

    /// Puts to rest, where more are awake than need be, what nobody has and nobody has asked for since the last round.
    /// One round at most: who is asked for all the time stays awake.
    pub fn put_to_rest(&self) {
        if self.awake() <= self.most_awake + self.most_awake / 8 {
            return;
        }
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shards = 0;
        while shards < SHARDS && self.awake() > self.most_awake {
            let at_end = self.held.step(&mut hand, |held| {
                if held.put_to_rest() {
                    self.awake.fetch_sub(1, Relaxed);
                }
            });
            shards += usize::from(at_end);
        }
    }

    fn awake(&self) -> usize {
        self.awake.load(Relaxed)
    }

    /// What is held under each key, as it is when its turn comes. What is at rest stays so.
    pub fn iter(&self) -> impl Iterator<Item = Held> + '_ {
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

#[cfg(test)]
mod tests;
