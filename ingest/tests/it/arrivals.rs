//! ClickHouse says that it has what it has not: the sink looks, and puts it there.

use std::sync::Arc;
use std::time::Duration;

use ingest::audit::Grade;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use wire::topic::Topic;

use crate::audit::{change, furnish, settled};
use crate::support::{Stack, events, eventually, post};

/// Leaves at the beginning of each partition what a sink that died in the midst of inserting all of it would have left.
async fn rewind(stack: &Stack) {
    let group = format!("{}.sink", stack.kafka.topic_prefix);
    let mut config = service::kafka::client_config(&stack.kafka);
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let topics = [Topic::Listens, Topic::Deliveries].map(|topic| topic.name(&stack.kafka.topic_prefix));
    let partitions = stack.kafka.partitions;
    let rewind = move || -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in topics.iter().flat_map(|topic| (0..partitions).map(move |p| (topic, p))) {
            let (_, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(20)).unwrap();
            if end > 0 {
                let intent = json!({"first": 0, "last": end - 1, "version": 2, "window": 100_000});
                let mut place = list.add_partition(topic, partition);
                place.set_offset(Offset::Offset(0)).unwrap();
                place.set_metadata(intent.to_string());
            }
        }
        consumer.commit(&list, CommitMode::Sync).map_err(|error| error.to_string())
    };
    let rewind = Arc::new(rewind);
    // The sink that left is still a member until its session ends.
    eventually(Duration::from_secs(60), || {
        let rewind = rewind.clone();
        async move { tokio::task::spawn_blocking(move || rewind()).await.unwrap() }
    })
    .await;
}

const COUNTS: [(&str, &str); 8] = [
    ("events", "count()"),
    ("listen_states", "sum(events)"),
    ("quality_states", "sum(events)"),
    ("play_states", "sum(events)"),
    ("repeats", "count()"),
    ("dead_letter", "count()"),
    ("deliveries", "count()"),
    ("delivery_states", "sum(deliveries)"),
];

async fn counts(stack: &Stack) -> Vec<u64> {
    let mut counts = Vec::new();
    for (table, count) in COUNTS {
        counts.push(stack.number(&format!("SELECT {count} FROM {table}")).await);
    }
    counts
}

async fn repeated(stack: &Stack) -> Vec<u64> {
    repeated_and(stack, Grade::Holds).await
}

/// What is there once a sink has made everything that Kafka has again, as one batch a partition.
async fn repeated_and(stack: &Stack, verdict: Grade) -> Vec<u64> {
    rewind(stack).await;
    let sink = stack.sink(&[]).await;
    let audit = settled(stack).await;
    assert_eq!(audit.verdict, verdict, "{audit}");
    sink.stop().await.unwrap();
    counts(stack).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clickhouse_forgot_to_keep_is_put_there_once() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    furnish(&stack, &ingest).await;
    let twice = json!(events(30));
    for _ in 0..2 {
        assert_eq!(post(&ingest, &twice).await.status, 202);
    }
    ingest.stop().await.unwrap();
    let mut whole = Vec::new();
    let all = COUNTS.map(|(table, _)| table);
    // What was damaged once is damaged again: ClickHouse may have forgotten the tokens of parts that have become empty.
    for damaged in [&[][..], &["events", "delivery_states", "repeats"], &all] {
        for table in damaged {
            // Its deduplication log knows of the rows all the same.
            change(&stack, &format!("ALTER TABLE {table} DELETE WHERE 1")).await;
        }
        let counts = repeated(&stack).await;
        if damaged.is_empty() {
            assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
            whole.clone_from(&counts);
        }
        assert_eq!(counts, whole, "{damaged:?}");
        let beside = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'again%'";
        assert_eq!(stack.number(beside).await, 0);
    }
}

/// Nor does a batch that is made again bring back who was forgotten since.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_forgotten_is_not_missing() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let mut some = events(60);
    some.iter_mut().step_by(3).for_each(|event| event["user_id"] = json!("anna"));
    for _ in 0..2 {
        assert_eq!(post(&ingest, &json!(some)).await.status, 202);
    }
    ingest.stop().await.unwrap();
    let whole = repeated(&stack).await;
    // An operator's own view, which does not say what has come: it gets what is sent again, and only it.
    let own = "CREATE MATERIALIZED VIEW own ENGINE = SummingMergeTree ORDER BY track_id \
               SETTINGS non_replicated_deduplication_window = 100 AS SELECT track_id, count() AS n FROM events GROUP BY track_id";
    change(&stack, own).await;
    assert_eq!(repeated(&stack).await, whole);
    assert_eq!(stack.number("SELECT sum(n)::UInt64 FROM own").await, whole[0]);
    change(&stack, "DROP VIEW own SYNC").await;
    let mut loader = stack.loader(&[]);
    let config = ingest::erase::Config::read(&mut loader);
    let proof = ingest::erase::run(&config, "anna").await.unwrap();
    assert!(proof.complete, "{proof}");
    let left = counts(&stack).await;
    assert!(left[0] < whole[0], "{left:?}");
    assert_eq!(repeated(&stack).await, left);
}

/// What is stored of Bob's listening, and then as much of Anna's in the same sessions: hers are the last in each
/// partition.
async fn two_listeners(stack: &Stack) -> Vec<u64> {
    let ingest = stack.ingest(&[]).await;
    for user in ["bob", "anna"] {
        let mut batch = events(60);
        for (event, n) in batch.iter_mut().zip(0..) {
            (event["session_id"], event["play_id"]) = (json!(format!("s-{}", n % 20)), json!(user));
            event["user_id"] = json!(user);
        }
        assert_eq!(post(&ingest, &json!(batch)).await.status, 202);
    }
    ingest.stop().await.unwrap();
    repeated(stack).await
}

/// What a roll-up without listeners lacks is made from the events, so these wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_still_to_be_counted_is_forgotten_later() {
    let stack = Stack::new().await;
    let whole = two_listeners(&stack).await;
    for lacks in ["listen_states", "quality_states", "play_states"] {
        change(&stack, &format!("ALTER TABLE {lacks} DELETE WHERE 1")).await;
    }
    rewind(&stack).await;
    let mut loader = stack.loader(&[]);
    let config = ingest::erase::Config::read(&mut loader);
    let proof = ingest::erase::run(&config, "anna").await.unwrap();
    assert!(
        !proof.complete && proof.total() == 0 && proof.to_string().contains("plays that the sink is still at"),
        "{proof}"
    );
    assert_eq!(repeated(&stack).await, whole);
    let proof = ingest::erase::run(&config, "anna").await.unwrap();
    assert!(proof.complete, "{proof}");
    let left = counts(&stack).await;
    assert_eq!((left[0], left[1], left[2], left[3]), (whole[0] / 2, whole[1], whole[2], whole[3] / 2));
    assert_eq!(repeated(&stack).await, left);
}

/// An erasure that was cut off has emptied the roll-ups that know listeners, and not the events yet.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_being_forgotten_is_not_missing() {
    let stack = Stack::new().await;
    let whole = two_listeners(&stack).await;
    change(&stack, "SYSTEM STOP MERGES events").await;
    let mut loader = stack.loader(&[]);
    let config = ingest::erase::Config::read(&mut loader);
    let erasing = {
        let config = config.clone();
        tokio::spawn(async move { ingest::erase::run(&config, "anna").await })
    };
    let plays = "SELECT sum(events)::UInt64 FROM play_states";
    eventually(Duration::from_secs(60), || async {
        let events = stack.number(plays).await;
        if events == whole[3] / 2 { Ok(()) } else { Err(format!("{events} are counted")) }
    })
    .await;
    erasing.abort();
    // Its events are there, for the audit as for who makes the batch again.
    let cut_off = repeated_and(&stack, Grade::Unjudged).await;
    assert_eq!((cut_off[0], cut_off[1], cut_off[3]), (whole[0], whole[1], whole[3] / 2));
    change(&stack, "KILL MUTATION WHERE database = currentDatabase() AND table = 'events'").await;
    change(&stack, "SYSTEM START MERGES events").await;
    let proof = ingest::erase::run(&config, "anna").await.unwrap();
    assert!(proof.complete && proof.rows("events") == whole[0] / 2, "{proof}");
    let left = repeated(&stack).await;
    assert_eq!((left[0], left[1], left[3]), (whole[0] / 2, whole[1], whole[3] / 2));
}
