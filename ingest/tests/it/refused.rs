//! Rows that ClickHouse refuses are set aside, and only those.

use std::time::Duration;

use serde_json::{Value, json};
use wire::topic::Topic;

use crate::killed::{SinkProcess, random_moment};
use crate::support::{Stack, events, eventually, health_is, healthy, post};

const SMALL: [(&str, &str); 2] = [("TONEARM_SINK_BATCH_ROWS", "60"), ("TONEARM_SINK_BATCH_WAIT", "20ms")];
const REFUSED: &str = "SELECT count() FROM dead_letter WHERE kind = 'refused' AND \
                       JSONExtractString(payload, 'event', 'track_id') = 'poison' AND id IS NOT NULL";

pub(crate) async fn change(stack: &Stack, sql: &str) {
    stack.clickhouse.query(sql).execute().await.unwrap();
}

/// Some of which the table does not take, once it is told so: the first and the last, and those at these places.
pub(crate) fn poisoned(n: usize, places: &[usize]) -> Value {
    let mut events = events(n);
    for (place, event) in events.iter_mut().enumerate() {
        if places.contains(&place) {
            event["track_id"] = json!("poison");
        }
    }
    json!(events)
}

pub(crate) async fn refuse_poison(stack: &Stack) {
    change(stack, "ALTER TABLE events ADD CONSTRAINT no_poison CHECK track_id != 'poison'").await;
}

/// Of one session, which all go into one partition.
fn of_one_session(mut events: Value) -> Value {
    for event in events.as_array_mut().unwrap() {
        event["session_id"] = json!("of-one");
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_set_aside_with_their_bytes_and_the_rest_goes_on() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    refuse_poison(&stack).await;
    let sent = poisoned(300, &[0, 1, 100, 205, 299]);
    assert_eq!(post(&ingest, &sent).await.status, 202);
    // A repeat of a bad one is no letter of its own.
    assert_eq!(post(&ingest, &json!([sent[100]])).await.status, 202);
    let sink = stack.sink(&[]).await;
    stack.until(REFUSED, 5).await;
    stack.until("SELECT count() FROM repeats WHERE topic LIKE '%listens%'", 1).await;
    stack.adds_up(295).await;
    let key = "SELECT count() FROM dead_letter WHERE key = JSONExtractString(payload, 'event', 'session_id') \
               AND reason LIKE '%no_poison%' AND reason NOT LIKE '%Column values%'";
    assert_eq!(stack.number(key).await, 5);
    healthy(&sink).await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_killed_among_bad_rows() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    refuse_poison(&stack).await;
    for round in 0..8 {
        let _sink = SinkProcess::start(&stack, &SMALL);
        assert_eq!(post(&ingest, &poisoned(120, &[round, 40 + round, 90 + round])).await.status, 202);
        random_moment(1500).await;
    }
    let _sink = SinkProcess::start(&stack, &SMALL);
    stack.until(REFUSED, 8 * 3).await;
    stack.adds_up(8 * 117).await;
    assert_eq!(stack.number("SELECT count() FROM dead_letter").await, 8 * 3);
}

/// A refusal by a table that was altered a moment ago does not tell whose fault it is: its neighbours do.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_of_a_table_just_altered_holds_nobody_up() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    refuse_poison(&stack).await;
    let sink = stack.sink(&[]).await;
    assert_eq!(post(&ingest, &of_one_session(poisoned(1, &[0]))).await.status, 202);
    // The only one there is: nothing tells yet.
    health_is(&sink, 503).await;
    assert_eq!(stack.number("SELECT count() FROM dead_letter").await, 0);
    assert_eq!(post(&ingest, &of_one_session(poisoned(20, &[0, 1, 2, 10, 19]))).await.status, 202);
    stack.until(REFUSED, 6).await;
    stack.adds_up(15).await;
    healthy(&sink).await;
    let in_a_row: Vec<usize> = (5..45).collect();
    assert_eq!(post(&ingest, &of_one_session(poisoned(50, &in_a_row))).await.status, 202);
    stack.until(REFUSED, 46).await;
    stack.adds_up(25).await;
    healthy(&sink).await;
    sink.stop().await.unwrap();
}

/// Nothing good lies around them in their partitions, but the table has taken others as it is.
#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_alone_in_their_partitions() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    refuse_poison(&stack).await;
    let sink = stack.sink(&[]).await;
    let taken = "SELECT toUInt64(count() > 0) FROM events WHERE received_at > (\
                 SELECT metadata_modification_time + 5 FROM system.tables WHERE database = currentDatabase() AND name = 'events')";
    eventually(Duration::from_secs(60), || async {
        assert_eq!(post(&ingest, &of_one_session(json!(events(1)))).await.status, 202);
        if stack.number(taken).await == 1 { Ok(()) } else { Err("nothing was stored since".into()) }
    })
    .await;
    sink.stop().await.unwrap();
    assert_eq!(post(&ingest, &poisoned(8, &[0, 1, 2, 3, 4, 5, 6, 7])).await.status, 202);
    let sink = stack.sink(&[]).await;
    stack.until(REFUSED, 8).await;
    healthy(&sink).await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_nothing_is_no_fault_of_the_rows() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    for (wrong, mended) in [
        (
            "ALTER TABLE events ADD CONSTRAINT none CHECK length(track_id) > 1000",
            "ALTER TABLE events DROP CONSTRAINT none",
        ),
        ("RENAME TABLE events TO elsewhere", "RENAME TABLE elsewhere TO events"),
        (
            "ALTER TABLE events RENAME COLUMN error_code TO other",
            "ALTER TABLE events RENAME COLUMN other TO error_code",
        ),
    ] {
        change(&stack, wrong).await;
        let before = stack.kafka_messages(Topic::Listens).await;
        assert_eq!(post(&ingest, &json!(events(50))).await.status, 202);
        let sink = stack.sink(&SMALL).await;
        health_is(&sink, 503).await;
        change(&stack, mended).await;
        stack.adds_up(before + 50).await;
        healthy(&sink).await;
        sink.stop().await.unwrap();
    }
    assert_eq!(stack.number("SELECT count() FROM dead_letter").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_fails_stops_the_table_and_doubles_nothing() {
    let stack = Stack::new().await;
    let ingest = stack.ingest(&[]).await;
    let target = "CREATE TABLE tracks_heard (track_id String, n UInt64) ENGINE = SummingMergeTree ORDER BY track_id \
                  SETTINGS non_replicated_deduplication_window = 100";
    change(&stack, target).await;
    let view = "MATERIALIZED VIEW to_tracks_heard TO tracks_heard AS SELECT track_id, count() AS n FROM events";
    change(&stack, &format!("CREATE {view} WHERE throwIf(track_id = 'poison') = 0 GROUP BY track_id")).await;
    assert_eq!(post(&ingest, &poisoned(60, &[30])).await.status, 202);
    let sink = stack.sink(&SMALL).await;
    health_is(&sink, 503).await;
    let mended = "ALTER TABLE to_tracks_heard MODIFY QUERY SELECT track_id, count() AS n FROM events GROUP BY track_id";
    change(&stack, mended).await;
    stack.adds_up(60).await;
    stack.until("SELECT sum(n) FROM tracks_heard", 60).await;
    healthy(&sink).await;
    sink.stop().await.unwrap();
    assert_eq!(stack.number("SELECT sum(n) FROM tracks_heard").await, 60);
    assert_eq!(stack.number("SELECT count() FROM dead_letter").await, 0);
}
