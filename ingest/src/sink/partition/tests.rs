use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use wire::Timestamp;

use super::*;

const LIMITS: Limits = Limits { rows: 3, bytes: 1 << 20, wait: Duration::from_secs(1) };

/// What is no row becomes a dead letter, which keeps its offset: enough to tell batches apart.
fn message(offset: i64) -> Incoming<'static> {
    let received_at = Timestamp::from_millis(0).unwrap();
    Incoming { partition: 0, offset, received_at, key: b"", payload: b"x" }
}

fn offsets(batch: &Batch) -> Vec<i64> {
    batch.dead.iter().map(|letter| letter.offset).collect()
}

fn take(partition: &mut Partition, offset: i64, now: Instant) -> Order {
    partition.take(&message(offset), now).unwrap()
}

#[test]
fn a_batch_is_announced_inserted_and_settled() {
    let now = Instant::now();
    let mut partition = Partition::new(Table::Events, Some(5), None);
    for offset in 5..8 {
        assert_eq!(take(&mut partition, offset, now), Order::Contiguous);
    }
    assert!(partition.commit().is_none() && partition.is_full(&LIMITS));
    partition.advance(now, &LIMITS, false);
    let announced = partition.commit().unwrap();
    assert_eq!(Intent::left(&announced.metadata, announced.offset).map(|i| (i.first, i.last)), Some((5, 7)));
    assert_eq!(offsets(&partition.committed().unwrap()), [5, 6, 7]);
    assert!(partition.commit().is_none() && !partition.is_settled());
    partition.inserted();
    assert_eq!(partition.commit(), Some(Commit { offset: 8, metadata: String::new() }));
    assert!(partition.committed().is_none() && partition.is_settled());
}

#[test]
fn age_closes_a_small_batch() {
    let now = Instant::now();
    let mut partition = Partition::new(Table::Events, None, None);
    take(&mut partition, 40, now);
    partition.advance(now + Duration::from_millis(999), &LIMITS, false);
    assert!(partition.commit().is_none());
    partition.advance(now + Duration::from_secs(1), &LIMITS, false);
    assert_eq!(partition.commit().unwrap().offset, 40);
}

#[test]
fn while_one_is_inserted_the_next_fills_and_settles_it() {
    let now = Instant::now();
    let mut partition = Partition::new(Table::Events, Some(0), None);
    (0..3).for_each(|offset| assert_eq!(take(&mut partition, offset, now), Order::Contiguous));
    partition.advance(now, &LIMITS, false);
    let first = partition.committed().unwrap();
    assert!(!partition.is_full(&LIMITS));
    (3..6).for_each(|offset| assert_eq!(take(&mut partition, offset, now), Order::Contiguous));
    partition.advance(now, &LIMITS, true);
    assert!(partition.is_full(&LIMITS) && partition.commit().is_none());
    assert_eq!(partition.bytes(), 2 * first.bytes());
    partition.inserted();
    partition.advance(now, &LIMITS, false);
    assert_eq!(partition.commit().unwrap().offset, 3);
}

#[test]
fn a_replay_takes_exactly_its_range_and_its_version() {
    let now = Instant::now();
    let intent = Intent { first: 10, last: 14, version: 9 };
    let mut partition = Partition::new(Table::Events, Some(10), Some(intent));
    for offset in 10..14 {
        take(&mut partition, offset, now);
        partition.advance(now + Duration::from_secs(60), &LIMITS, true);
        assert!(partition.commit().is_none() && partition.is_replaying() && !partition.is_full(&LIMITS));
    }
    take(&mut partition, 14, now);
    assert_eq!(partition.commit().unwrap().metadata, intent.to_metadata());
    assert_eq!(offsets(&partition.committed().unwrap()), [10, 11, 12, 13, 14]);
}

#[test]
fn a_replay_of_what_kafka_lost_ends_at_the_next_offset() {
    let now = Instant::now();
    let intent = Intent { first: 10, last: 14, version: 1 };
    let mut partition = Partition::new(Table::Events, Some(10), Some(intent));
    assert_eq!(take(&mut partition, 12, now), Order::Missing(2));
    assert_eq!(take(&mut partition, 20, now), Order::Missing(7));
    let batch = partition.committed().unwrap();
    assert_eq!((batch.range, offsets(&batch)), (intent, vec![12]));
    partition.inserted();
    partition.advance(now, &LIMITS, true);
    assert_eq!(partition.commit().unwrap().offset, 20);
}

#[test]
fn a_topic_that_was_made_anew_is_read_anew() {
    let now = Instant::now();
    let intent = Intent { first: 10, last: 14, version: 1 };
    let mut partition = Partition::new(Table::Events, Some(10), Some(intent));
    assert_eq!(take(&mut partition, 0, now), Order::Backwards);
    assert_eq!(take(&mut partition, 1, now), Order::Contiguous);
    assert!(partition.take(&message(0), now).is_err());
}

/// Kafka and ClickHouse as far as this matters, and a sink that may die anywhere.
struct World {
    log: i64,
    committed: Option<i64>,
    metadata: String,
    tokens: HashSet<Intent>,
    stored: BTreeMap<i64, u32>,
    sink: Partition,
    read: i64,
    inserting: Option<Batch>,
}

impl World {
    fn new(log: i64) -> Self {
        Self {
            log,
            committed: None,
            metadata: String::new(),
            tokens: HashSet::new(),
            stored: BTreeMap::new(),
            sink: Partition::new(Table::Events, None, None),
            read: 0,
            inserting: None,
        }
    }

    fn crash(&mut self) {
        let intent = self.committed.and_then(|offset| Intent::left(&self.metadata, offset));
        self.sink = Partition::new(Table::Events, self.committed, intent);
        self.read = self.committed.unwrap_or(0);
        self.inserting = None;
    }

    fn take(&mut self, now: Instant) {
        if self.read < self.log && !self.sink.is_full(&LIMITS) {
            take(&mut self.sink, self.read, now);
            self.read += 1;
        }
    }

    fn commit(&mut self, seen: bool) {
        if let Some(commit) = self.sink.commit() {
            (self.committed, self.metadata) = (Some(commit.offset), commit.metadata);
            if seen {
                self.inserting = self.sink.committed().or(self.inserting.take());
            }
        }
        if !seen {
            self.crash();
        }
    }

    fn insert(&mut self, seen: bool) {
        if let Some(batch) = self.inserting.clone() {
            // ClickHouse looks at the token, never at the rows.
            if self.tokens.insert(batch.range) {
                offsets(&batch).into_iter().for_each(|offset| *self.stored.entry(offset).or_default() += 1);
            }
            if seen {
                self.sink.inserted();
                self.inserting = None;
            }
        }
        if !seen {
            self.crash();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_offset_is_stored_once_wherever_the_sink_dies(ops in prop::collection::vec(0..9u8, 0..200)) {
        let now = Instant::now();
        let mut world = World::new(40);
        for op in ops {
            match op {
                0..=2 => world.take(now),
                3 => world.sink.advance(now, &LIMITS, true),
                4 => world.sink.advance(now, &LIMITS, false),
                5 => world.commit(true),
                6 => world.insert(true),
                7 => world.commit(false),
                _ => world.insert(false),
            }
        }
        for _ in 0..400 {
            world.take(now);
            world.sink.advance(now, &LIMITS, world.read == world.log);
            world.commit(true);
            world.insert(true);
        }
        prop_assert!(world.sink.is_settled());
        prop_assert_eq!(world.committed, Some(40));
        prop_assert!((0..40).all(|offset| world.stored.get(&offset) == Some(&1)), "{:?}", world.stored);
    }
}
