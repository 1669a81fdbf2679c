//! What clients, edges and routers send again is stored once, and told.

use std::time::Duration;

use devstack::Server;
use http::Method;
use serde_json::{Value, json};
use service::Running;
use service::client::ApiClient;
use uuid::Uuid;
use wire::topic::Topic;

use crate::landing::{decision, delivery};
use crate::support::{ADMIN_TOKEN, Stack, event, events, health_is, healthy, post};

/// Of one session, and so of one partition.
fn of_one_session(n: usize) -> Vec<Value> {
    let mut events = events(n);
    events.iter_mut().for_each(|event| event["session_id"] = json!("s-1"));
    events
}

async fn report(ingest: &Running, deliveries: &[Value]) {
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(ADMIN_TOKEN);
    let url = format!("{}/v1/deliveries", ingest.url());
    let answer = api.send_json(Method::POST, &url, &json!({"deliveries": deliveries})).await.unwrap();
    assert_eq!(answer.status, 202);
}

fn new_id(mut record: Value, field: &str) -> Value {
    record[field] = json!(Uuid::now_v7());
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_is_stored_once_whichever_sink_sees_it() {
    let stack = Stack::new().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let heard = json!(events(40));
    let delivered: Vec<Value> = (0..10).map(|_| new_id(delivery(), "delivery_id")).collect();
    let decided: Vec<String> = (0..10).map(|_| new_id(decision(), "decision_id").to_string()).collect();
    let twice = event();
    assert_eq!(post(&ingest, &json!([twice, twice])).await.status, 202);
    for round in 0..3 {
        assert_eq!(post(&ingest, &heard).await.status, 202);
        report(&ingest, &delivered).await;
        stack.produce(Topic::Decisions, "of-one-partition", &decided).await;
        let sums =
            format!("SELECT count() FROM repeats WHERE topic NOT LIKE '%tallies%' HAVING count() = {}", 1 + round * 60);
        stack.until(&sums, 1 + round * 60).await;
    }
    // Another sink knows only what ClickHouse tells it.
    sink.stop().await.unwrap();
    let sink = stack.sink(&[("TONEARM_SINK_ID", "another")]).await;
    assert_eq!(post(&ingest, &heard).await.status, 202);
    report(&ingest, &delivered).await;
    stack.produce(Topic::Decisions, "of-one-partition", &decided).await;
    stack.until("SELECT count() FROM repeats WHERE topic NOT LIKE '%tallies%'", 1 + 3 * 60).await;
    for (table, id, rows) in
        [("events", "event_id", 41), ("deliveries", "delivery_id", 10), ("decisions", "decision_id", 10)]
    {
        assert_eq!(stack.number(&format!("SELECT count() FROM {table}")).await, rows, "{table}");
        let sent_again = format!("SELECT count() FROM repeats WHERE id IN (SELECT {id} FROM {table})");
        assert!(stack.number(&sent_again).await >= 30, "{table}");
    }
    stack.has_every_offset_of(Topic::Listens, "events").await;
    stack.has_every_offset_of(Topic::Deliveries, "deliveries").await;
    stack.has_every_offset_of(Topic::Decisions, "decisions").await;
    // Each time it was accepted, an event was numbered: no number is missing.
    let numbers = "SELECT uniqExact(n) FROM (SELECT ingest_seq AS n FROM events UNION ALL \
                   SELECT ingest_seq FROM repeats WHERE ingest_id LIKE 'ingest-%')";
    assert_eq!(stack.number(numbers).await, 42 + 3 * 40);
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beyond_the_window_is_stored_again_and_counted_once() {
    let stack = Stack::new().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[("TONEARM_SINK_REPEAT_WINDOW", "10")]).await);
    let heard = of_one_session(21);
    // The first once more after 9 others, which the window holds, and after 20, which it does not.
    let sent = [&heard[..10], &heard[..1], &heard[10..], &heard[..1]].concat();
    assert_eq!(post(&ingest, &json!(sent)).await.status, 202);
    stack.until("SELECT count() FROM events", 22).await;
    stack.until("SELECT count() FROM repeats WHERE topic LIKE '%listens%'", 1).await;
    stack.has_every_offset_once().await;
    assert_eq!(stack.number("SELECT count() FROM plays").await, 1);
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_unfiltered_while_clickhouse_is_away() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let heard = json!(events(50));
    assert_eq!(post(&ingest, &heard).await.status, 202);
    stack.adds_up(50).await;
    sink.stop().await.unwrap();
    stack.servers.kill(Server::ClickHouse).await;
    assert_eq!(post(&ingest, &heard).await.status, 202);
    let sink = stack.sink(&[("TONEARM_SINK_ID", "later")]).await;
    health_is(&sink, 200).await;
    stack.servers.start(Server::ClickHouse).await;
    stack.until("SELECT count() FROM repeats WHERE topic LIKE '%listens%'", 50).await;
    stack.adds_up(50).await;
    healthy(&sink).await;
    sink.stop().await.unwrap();
}
