use std::time::Duration;

use super::*;

const LIMITS: Limits = Limits { rows: 3, bytes: 1 << 20, wait: Duration::from_secs(1) };

const WITHIN: u32 = 6;

/// What is no row becomes a dead letter, which keeps its offset: enough to tell batches apart.
fn message(offset: i64) -> Incoming<'static> {
    let received_at = Timestamp::from_millis(0).unwrap();
    Incoming { partition: 0, offset, received_at, key: b"", payload: b"x", is_sent_again: false }
}

fn partition(committed: i64, replay: Option<Intent>) -> Partition {
    let mut partition = Partition::new(Table::Tallies, committed, replay, WITHIN);
    partition.remember(Window::recalled(partition.looks_back(), Vec::new(), committed));
    partition
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
    let mut partition = partition(5, None);
    for offset in 5..8 {
        assert_eq!(take(&mut partition, offset, now), Order::Contiguous);
    }
    assert!(partition.commit(now).is_none() && partition.is_full(&LIMITS));
    partition.advance(now, &LIMITS, false);
    let announced = partition.commit(now).unwrap();
    assert_eq!(Intent::left(&announced.metadata, announced.offset).map(|i| (i.first, i.last)), Some((5, 7)));
    assert_eq!(offsets(&partition.committed(now).unwrap()), [5, 6, 7]);
    assert!(partition.commit(now).is_none() && !partition.is_settled());
    partition.inserted();
    assert_eq!(partition.commit(now), Some(Commit { offset: 8, metadata: String::new() }));
    assert!(partition.committed(now).is_none() && partition.is_settled());
}

#[test]
fn age_closes_a_small_batch() {
    let now = Instant::now();
    let mut partition = partition(40, None);
    take(&mut partition, 40, now);
    partition.advance(now + Duration::from_millis(999), &LIMITS, false);
    assert!(partition.commit(now).is_none());
    partition.advance(now + Duration::from_secs(1), &LIMITS, false);
    assert_eq!(partition.commit(now).unwrap().offset, 40);
}

#[test]
fn while_one_is_inserted_the_next_fills_and_settles_it() {
    let now = Instant::now();
    let mut partition = partition(0, None);
    (0..3).for_each(|offset| assert_eq!(take(&mut partition, offset, now), Order::Contiguous));
    partition.advance(now, &LIMITS, false);
    let first = partition.committed(now).unwrap();
    assert!(!partition.is_full(&LIMITS));
    (3..6).for_each(|offset| assert_eq!(take(&mut partition, offset, now), Order::Contiguous));
    partition.advance(now, &LIMITS, true);
    assert!(partition.is_full(&LIMITS) && partition.commit(now).is_none());
    assert_eq!(partition.held_bytes(), 2 * first.held_bytes());
    partition.inserted();
    partition.advance(now, &LIMITS, false);
    assert_eq!(partition.commit(now).unwrap().offset, 3);
}

#[test]
fn a_replay_takes_exactly_its_range_and_its_version() {
    let now = Instant::now();
    let intent = Intent { last: 14, version: 9, ..Intent::at(10, 3) };
    let mut partition = partition(10, Some(intent.clone()));
    for offset in 10..14 {
        take(&mut partition, offset, now);
        partition.advance(now + Duration::from_secs(60), &LIMITS, true);
        assert!(partition.commit(now).is_none() && partition.is_replaying() && !partition.is_full(&LIMITS));
    }
    take(&mut partition, 14, now);
    assert_eq!(partition.commit(now).unwrap().metadata, intent.to_metadata());
    assert_eq!(offsets(&partition.committed(now).unwrap()), [10, 11, 12, 13, 14]);
}

#[test]
fn a_replay_of_what_kafka_lost_ends_at_the_next_offset() {
    let now = Instant::now();
    let intent = Intent { last: 14, ..Intent::at(10, 3) };
    let mut partition = partition(10, Some(intent.clone()));
    assert_eq!(take(&mut partition, 12, now), Order::Missing(2));
    assert_eq!(take(&mut partition, 20, now), Order::Missing(7));
    let batch = partition.committed(now).unwrap();
    assert_eq!((&batch.range, offsets(&batch)), (&intent, vec![12]));
    partition.inserted();
    partition.advance(now, &LIMITS, true);
    assert_eq!(partition.commit(now).unwrap().offset, 20);
}

#[test]
fn a_topic_that_was_made_anew_is_read_anew() {
    let now = Instant::now();
    let intent = Intent { last: 14, ..Intent::at(10, 3) };
    let mut partition = partition(10, Some(intent.clone()));
    assert_eq!(take(&mut partition, 0, now), Order::Backwards);
    assert_eq!(take(&mut partition, 1, now), Order::Contiguous);
    assert!(partition.take(&message(0), now).is_err());
}
