//! Events put into ClickHouse as the sink puts them, without Kafka: for tests of what is made of them.

use ingest::sink::{Incoming, Table};
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
    let client = stack
        .clickhouse
        .clone()
        .with_setting("insert_deduplication_token", token)
        .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
        .with_setting("async_insert", "0");
    let mut insert = client.insert_formatted_with(Table::Events.insert());
    insert.send(rows.into()).await.unwrap();
    insert.end().await.unwrap();
}
