//! Events put into ClickHouse as the sink puts them, without Kafka: for tests of what is made of them.

use bytes::Bytes;
use ingest::sink::{INSERT_SETTINGS, Incoming, Table};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::Timestamp;

use crate::support::Stack;

/// 2026-11-21T00:00:00Z.
pub(crate) const MIDNIGHT: i64 = 1_795_219_200_000;
pub(crate) const SECOND: i64 = 1000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
pub(crate) const DAY: i64 = 24 * HOUR;

/// An event as Kafka carries it: of this moment, received as it happened.
pub(crate) fn accepted(at: i64, what: &str, session: &str, more: &Value) -> Value {
    let moment = Timestamp::from_millis(at).unwrap();
    let mut event = json!({
        "event_id": Uuid::now_v7(), "type": what, "session_id": session, "play_id": "p", "track_id": "t",
        "client_ts": moment
    });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "event": event, "app": "web", "ingest_id": "ingest", "ingest_seq": 1, "received_at": moment,
        "event_ts": moment, "skew_ms": 0, "wire_format": "json"
    })
}

/// One insert, under a token as the sink's.
pub(crate) async fn insert(stack: &Stack, token: &str, events: &[Value]) {
    let (sql, rows) = Table::Events.insert_of(appended(events).into(), events.len());
    insert_as(stack, token, sql, rows).await;
}

fn appended(events: &[Value]) -> Vec<u8> {
    let mut rows = Vec::new();
    for (offset, event) in events.iter().enumerate() {
        let payload = event.to_string();
        let message = Incoming {
            partition: 0,
            offset: i64::try_from(offset).unwrap(),
            received_at: Timestamp::now(),
            key: b"",
            payload: payload.as_bytes(),
            is_sent_again: false,
        };
        Table::Events.append(&message, &mut rows).unwrap();
    }
    rows
}

async fn insert_as(stack: &Stack, token: &str, sql: String, rows: Bytes) {
    let client = INSERT_SETTINGS
        .iter()
        .fold(stack.clickhouse.clone(), |client, (name, value)| client.with_setting(*name, *value));
    let mut insert = client.with_setting("insert_deduplication_token", token).insert_formatted_with(sql);
    insert.send(rows).await.unwrap();
    insert.end().await.unwrap();
}

/// Whatever a column is sent as, ClickHouse has the same in it.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_the_rows_they_were_made_of() {
    let stack = Stack::new().await;
    let golden: Value = serde_json::from_str(include_str!("../../../wire/tests/golden/accepted_event.json")).unwrap();
    let long = json!({"device": "d".repeat(200), "seq": 7, "stall_ms": 5, "decision_id": Uuid::now_v7()});
    let events = [golden, accepted(MIDNIGHT, "stall", "s", &long), accepted(MIDNIGHT, "error", "s", &json!({}))];
    insert(&stack, "columns", &events).await;
    insert_as(&stack, "rows", Table::Events.insert(), appended(&events).into()).await;
    let different = "SELECT count() FROM (SELECT DISTINCT * FROM events)";
    assert_eq!(stack.number(different).await, events.len() as u64);
    assert_eq!(stack.number("SELECT count() FROM events").await, 2 * events.len() as u64);
}
