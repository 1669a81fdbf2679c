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
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const BUDGET: u64 = 100;

    /// Its key, its weight, and whether it is in use.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Thing(u32, u32, bool);

    impl Weigh for Thing {
        fn weight(&self) -> u32 {
            self.1
        }

        fn in_use(&self) -> bool {
            self.2
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Get(u32),
        Put(Thing),
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        // 0 is no hash that is remembered.
        let key = || 1u32..40;
        prop_oneof![
            4 => key().prop_map(Step::Get),
            4 => (key(), 1u32..30, prop::bool::weighted(0.1)).prop_map(|(k, w, used)| Step::Put(Thing(k, w, used))),
            1 => key().prop_map(Step::Remove),
        ]
    }

    /// S3-FIFO as it is written down: lists, walked from their ends. A thing and its marks.
    #[derive(Debug, Default)]
    struct Model {
        small: Vec<(Thing, u8)>,
        main: Vec<(Thing, u8)>,
        ghost: HashSet<u32>,
    }

    impl Model {
        fn held(&mut self, key: u32) -> Option<&mut (Thing, u8)> {
            self.small.iter_mut().chain(&mut self.main).find(|(thing, _)| thing.0 == key)
        }

        fn take(&mut self, step: Step) -> Vec<Thing> {
            match step {
                Step::Get(key) => {
                    if let Some((_, marks)) = self.held(key) {
                        *marks = MOST_MARKS.min(*marks + 1);
                    }
                }
                Step::Remove(key) => {
                    self.small.retain(|(thing, _)| thing.0 != key);
                    self.main.retain(|(thing, _)| thing.0 != key);
                }
                Step::Put(thing) => {
                    if let Some((held, _)) = self.held(thing.0) {
                        *held = thing;
                    } else if self.ghost.remove(&thing.0) {
                        self.main.push((thing, 0));
                    } else {
                        self.small.push((thing, 0));
                    }
                }
            }
            self.evict()
        }

        fn evict(&mut self) -> Vec<Thing> {
            let weight = |list: &[(Thing, u8)]| list.iter().map(|(thing, _)| u64::from(thing.1)).sum::<u64>();
            let mut out = Vec::new();
            while weight(&self.small) + weight(&self.main) > BUDGET {
                if weight(&self.small) > BUDGET / 10 || self.main.is_empty() {
                    let (thing, marks) = self.small.remove(0);
                    if marks >= WORTH_KEEPING || thing.2 {
                        self.main.push((thing, 0));
                    } else {
                        self.ghost.insert(thing.0);
                        out.push(thing);
                    }
                } else {
                    let (thing, marks) = self.main.remove(0);
                    if marks > 0 { self.main.push((thing, marks - 1)) } else { out.push(thing) }
                }
            }
            out
        }
    }

    fn put(cache: &S3Fifo<Thing>, thing: Thing) -> Vec<Thing> {
        cache.change(thing.0, |held| held.0 == thing.0, |_| Change::Put(thing))
    }

    proptest! {
        #[test]
        fn as_it_is_written_down(steps in proptest::collection::vec(step(), 0..150)) {
            let (cache, mut model) = (S3Fifo::<Thing>::new(BUDGET), Model::default());
            for step in steps {
                let out = match step {
                    Step::Get(key) => {
                        let held = model.held(key).map(|(thing, _)| *thing);
                        prop_assert_eq!(cache.get(key, |thing| thing.0 == key), held);
                        Vec::new()
                    }
                    Step::Put(thing) => put(&cache, thing),
                    Step::Remove(key) => cache.change(key, |held| held.0 == key, |_| Change::Remove),
                };
                prop_assert_eq!(out, model.take(step));
                let mut held: Vec<u32> = cache.values().map(|thing| thing.0).collect();
                let mut wanted: Vec<u32> = model.small.iter().chain(&model.main).map(|(thing, _)| thing.0).collect();
                held.sort_unstable();
                wanted.sort_unstable();
                prop_assert_eq!(&held, &wanted);
                let weight: u64 = cache.values().map(|thing| u64::from(thing.1)).sum();
                prop_assert_eq!((cache.weight(), cache.len()), (weight, held.len()));
                prop_assert!(weight <= BUDGET);
            }
        }
    }

    #[test]
    fn what_is_asked_for_often_stays_through_a_scan() {
        let cache = S3Fifo::<Thing>::new(BUDGET);
        let popular = || (0..50).filter(|key| cache.get(*key, |held| held.0 == *key).is_some()).count();
        let looked_at = || (50..60).filter(|key| cache.peek(*key, |held| held.0 == *key).is_some()).count();
        for key in 0..60 {
            put(&cache, Thing(key, 1, false));
        }
        assert_eq!((popular(), popular()), (50, 50));
        assert_eq!((looked_at(), looked_at(), looked_at()), (10, 10, 10));
        for key in 1000..9000 {
            put(&cache, Thing(key, 1, false));
        }
        assert_eq!((popular(), looked_at(), cache.len()), (50, 0, 100));
    }

    #[test]
    fn many_small_values_leave_no_large_tables() {
        let cache = S3Fifo::new(1_000_000);
        let capacity = || cache.shards.iter().map(|shard| shard.read().unwrap().capacity()).sum::<usize>();
        for key in 0..100_000 {
            put(&cache, Thing(key, 1, false));
        }
        assert!(capacity() >= 100_000);
        put(&cache, Thing(100_000, 999_000, false));
        assert!(cache.len() <= 1001 && capacity() < 30_000, "{} and {}", cache.len(), capacity());
        assert!(cache.get(100_000, |held| held.0 == 100_000).is_some());
    }

    #[test]
    fn queues_do_not_grow_with_what_was_removed() {
        let cache = S3Fifo::new(BUDGET);
        for key in 0..100_000 {
            put(&cache, Thing(key, 1, false));
            cache.change(key, |held| held.0 == key, |_| Change::Remove);
        }
        assert!(cache.is_empty() && cache.order().queued() < 5000, "{}", cache.order().queued());
    }

    #[test]
    fn hashes_that_are_the_same_are_told_apart_and_all_shards_are_used() {
        let cache = S3Fifo::new(BUDGET);
        for key in 0..4 {
            cache.change(7, |held: &Thing| held.0 == key, |_| Change::Put(Thing(key, 1, false)));
        }
        for key in 0..4 {
            assert_eq!(cache.get(7, |held| held.0 == key), Some(Thing(key, 1, false)));
        }
        let shards: HashSet<usize> = (0..=u32::MAX).step_by(1 << 20).map(shard).collect();
        assert_eq!((shards.len(), shard(0), shard(u32::MAX)), (SHARDS, 0, SHARDS - 1));
    }

    #[test]
    fn a_round_finds_each_that_nobody_has_asked_for_since() {
        let cache = S3Fifo::<Thing>::new(2000);
        let mut hand = Hand::default();
        let mut round = || {
            let (mut idle, mut shards) = (Vec::new(), 0);
            while shards < SHARDS {
                shards += usize::from(cache.step(&mut hand, |thing| idle.push(thing.0)));
            }
            idle.sort_unstable();
            idle
        };
        // Some in one shard that takes many steps, others all over.
        let keys = (0..500).chain((0..=u32::MAX).step_by(1 << 23).skip(1)).collect::<Vec<_>>();
        for key in &keys {
            put(&cache, Thing(*key, 1, false));
        }
        assert_eq!(round(), keys, "to put something is not to ask for it");
        for key in &keys[..400] {
            assert!(cache.get(*key, |held| held.0 == *key).is_some());
            assert!(cache.peek(keys[450], |held| held.0 == keys[450]).is_some());
        }
        assert_eq!(round(), &keys[400..]);
        assert_eq!(round(), keys);
        assert_eq!(cache.alter(7, |held| held.0 == 7, |held| std::mem::replace(&mut held.2, true)), Some(false));
        assert_eq!(cache.peek(7, |held| held.0 == 7), Some(Thing(7, 1, true)));
        assert_eq!(cache.alter(9999, |held| held.0 == 9999, |_| ()), None);
    }

    #[test]
    fn readers_and_writers_at_once_leave_it_whole() {
        let cache = S3Fifo::new(BUDGET);
        std::thread::scope(|scope| {
            for seed in 0..4u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..20_000u32 {
                        let key = n.wrapping_mul(seed * 2 + 1) % 300;
                        match n % 3 {
                            0 => drop(put(cache, Thing(key, 1 + n % 9, false))),
                            1 => drop(cache.get(key, |held| held.0 == key)),
                            _ if n % 7 == 0 => drop(cache.change(key, |held| held.0 == key, |_| Change::Remove)),
                            _ => assert!(cache.get(key, |held| held.0 == key).is_none_or(|held| held.0 == key)),
                        }
                    }
                });
            }
        });
        let weight: u64 = cache.values().map(|thing| u64::from(thing.1)).sum();
        assert_eq!((cache.weight(), cache.len()), (weight, cache.values().count()));
        assert!(weight <= BUDGET);
    }
}
