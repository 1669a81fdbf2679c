//! Values within a budget of weights, found by hash; S3-FIFO decides what goes (Yang and others, SOSP 2023).
//!
//! A hit takes the lock of one of many shards for reading and leaves a mark on the value: it touches no queue, so it
//! costs the same few cache lines among a thousand values and among a million. Whatever changes what is held has
//! the order's lock throughout. Lock order: the [`Order`], then one shard.

mod order;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use order::{Order, Place};

/// More than threads that ever look something up at the same time.
pub const SHARDS: usize = 256;

/// Marks that a value keeps at most: so often it is passed over.
const MOST_MARKS: u8 = 3;

/// A new value that was asked for so often is worth more than a place in the short queue. The first time is mostly the
/// request that brought it.
const WORTH_KEEPING: u8 = 2;

/// Places in a table that a [`Hand`] goes over before it gives the lock free.
pub const STEP: usize = 64;

pub trait Weigh {
    fn weight(&self) -> u32;

    /// It is being used, which counts for as much as having been asked for often.
    fn in_use(&self) -> bool {
        false
    }
}

/// What becomes of a value.
#[derive(Debug)]
pub enum Change<V> {
    None,
    Put(V),
    Remove,
}

#[derive(Debug)]
pub struct S3Fifo<V> {
    shards: Box<[RwLock<HashTable<Slot<V>>>]>,
    order: Mutex<Order>,
    budget: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    place: Place,
    /// As it was counted.
    weight: u32,
    marks: AtomicU8,
    /// Since a [`Hand`] was here.
    asked: AtomicBool,
    is_main: bool,
}

/// Where somebody is who goes round all values, a few at a time.
#[derive(Debug, Default)]
pub struct Hand {
    shard: usize,
    bucket: usize,
}

/// Four bytes of the hash are kept, and all others are made from them.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Shards get more and more of the hashes, the last twice as many as the first: their tables double one after another,
/// and on the whole they are always equally full.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
fn shard(hash: u32) -> usize {
    let share = hash as f32 / u32::MAX as f32;
    (((1.0 + share).log2() * SHARDS as f32) as usize).min(SHARDS - 1)
}

/// Where a few large values came in the place of many small ones, their table is not kept.
fn shrink<V>(shard: &mut HashTable<Slot<V>>) {
    if shard.capacity() > 64 + 4 * shard.len() {
        shard.shrink_to(2 * shard.len(), |slot| spread(slot.place.hash));
    }
}

impl<V: Weigh + Clone> S3Fifo<V> {
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, order: Mutex::default(), budget }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, hash: u32) -> RwLockReadGuard<'_, HashTable<Slot<V>>> {
        self.shards[shard(hash)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: u32) -> RwLockWriteGuard<'_, HashTable<Slot<V>>> {
        self.shards[shard(hash)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of this hash that `is` the one, which is worth more from now on.
    #[must_use]
    pub fn get(&self, hash: u32, is: impl Fn(&V) -> bool) -> Option<V> {
        self.look(hash, is, V::clone)
    }

    /// The same, by what of it is wanted.
    pub fn look<T>(&self, hash: u32, is: impl Fn(&V) -> bool, with: impl FnOnce(&V) -> T) -> Option<T> {
        let shard = self.read(hash);
        let slot = shard.find(spread(hash), |slot| is(&slot.value))?;
        let marks = slot.marks.load(Relaxed);
        // One of two marks that are left at the same time may be lost.
        if marks < MOST_MARKS {
            slot.marks.store(marks + 1, Relaxed);
        }
        if !slot.asked.load(Relaxed) {
            slot.asked.store(true, Relaxed);
        }
        Some(with(&slot.value))
    }

    /// The value, for those who do not mean to use it.
    #[must_use]
    pub fn peek(&self, hash: u32, is: impl Fn(&V) -> bool) -> Option<V> {
        self.read(hash).find(spread(hash), |slot| is(&slot.value)).map(|slot| slot.value.clone())
    }

    #[must_use]
    pub fn contains(&self, hash: u32, is: impl Fn(&V) -> bool) -> bool {
        self.read(hash).find(spread(hash), |slot| is(&slot.value)).is_some()
    }

    /// Gives a value another form, of the same weight. Nobody else sees it meanwhile.
    pub fn alter<T>(&self, hash: u32, is: impl Fn(&V) -> bool, with: impl FnOnce(&mut V) -> T) -> Option<T> {
        self.write(hash).find_mut(spread(hash), |slot| is(&slot.value)).map(|slot| with(&mut slot.value))
    }

    /// Goes a few places on. Each value that nobody has asked for since the hand was there before may be given another
    /// form, of the same weight. True where that was the end of one of [`SHARDS`].
    pub fn step(&self, hand: &mut Hand, mut idle: impl FnMut(&mut V)) -> bool {
        let mut shard = self.shards[hand.shard].write().unwrap_or_else(PoisonError::into_inner);
        let end = hand.bucket + STEP;
        for bucket in hand.bucket..end {
            let Some(slot) = shard.get_bucket_mut(bucket) else { continue };
            if !std::mem::take(slot.asked.get_mut()) {
                idle(&mut slot.value);
            }
        }
        hand.bucket = end;
        let at_end = end >= shard.num_buckets();
        if at_end {
            *hand = Hand { shard: (hand.shard + 1) % SHARDS, bucket: 0 };
        }
        at_end
    }

    /// Changes what is held of this hash and `is` the one, by what there is. Returns what had to go for it. `with`
    /// must not come back here.
    pub fn change(&self, hash: u32, is: impl Fn(&V) -> bool, with: impl FnOnce(Option<&V>) -> Change<V>) -> Vec<V> {
        // Dropped last, without a lock, for that may take a while.
        let mut _before = None;
        let mut order = self.order();
        let mut shard = self.write(hash);
        match shard.entry(spread(hash), |slot| is(&slot.value), |slot| spread(slot.place.hash)) {
            Entry::Occupied(mut held) => match with(Some(&held.get().value)) {
                Change::None => return Vec::new(),
                Change::Put(value) => {
                    let (slot, weight) = (held.get_mut(), value.weight());
                    order.weigh_again(slot.is_main, slot.weight, weight);
                    slot.weight = weight;
                    _before = Some(std::mem::replace(&mut slot.value, value));
                }
                Change::Remove => {
                    let (slot, _) = held.remove();
                    order.forget(slot.is_main, slot.weight);
                    _before = Some(slot.value);
                    shrink(&mut shard);
                }
            },
            Entry::Vacant(room) => {
                let Change::Put(value) = with(None) else { return Vec::new() };
                let weight = value.weight();
                let (place, is_main) = order.add(hash, weight);
                let (marks, asked) = (AtomicU8::new(0), AtomicBool::new(false));
                room.insert(Slot { value, place, weight, marks, asked, is_main });
            }
        }
        drop(shard);
        order.tidy(|place| self.read(place.hash).find(spread(place.hash), |slot| slot.place == place).is_some());
        self.make_room(&mut order)
    }

    fn make_room(&self, order: &mut Order) -> Vec<V> {
        let mut out = Vec::new();
        while let Some((place, from_main)) = order.next_out(self.budget) {
            let mut shard = self.write(place.hash);
            // What was removed has left its place in the queue.
            let Ok(mut held) = shard.find_entry(spread(place.hash), |slot| slot.place == place) else { continue };
            let slot = held.get_mut();
            let marks = slot.marks.get_mut();
            if from_main && *marks > 0 {
                *marks -= 1;
                order.put_back(place);
            } else if !from_main && (*marks >= WORTH_KEEPING || slot.value.in_use()) {
                (*marks, slot.is_main) = (0, true);
                order.promote(place, slot.weight);
            } else {
                let (slot, _) = held.remove();
                order.evict(place, slot.is_main, slot.weight);
                out.push(slot.value);
                shrink(&mut shard);
            }
        }
        out
    }

    /// All values, each shard as it is when its turn comes.
    pub fn values(&self) -> impl Iterator<Item = V> + '_ {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().map(|slot| slot.value.clone()).collect::<Vec<_>>()
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.order().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn weight(&self) -> u64 {
        self.order().weight()
    }
}

#[cfg(test)]
mod tests;
