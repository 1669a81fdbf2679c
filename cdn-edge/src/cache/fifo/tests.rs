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
