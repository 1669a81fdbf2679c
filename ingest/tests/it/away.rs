//! Servers that are not there: the roles start, say so, and go on once they are.

use std::time::{Duration, Instant};

use devstack::Server;
use serde_json::json;

use crate::support::{Stack, component_is, events, healthy, post};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_is_a_detour_for_events() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    // A sink that has not joined its group yet would be down, not degraded.
    healthy(&sink).await;
    stack.servers.kill(Server::Kafka).await;
    // Nobody knows yet that it is away: Kafka has its time to acknowledge, and then the spool keeps them.
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    component_is(&ingest, "kafka", "degraded").await;
    component_is(&sink, "kafka", "degraded").await;
    let asked = Instant::now();
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    assert!(asked.elapsed() < Duration::from_secs(3), "one that is known to be away is not waited for");
    healthy(&ingest).await;
    stack.servers.start(Server::Kafka).await;
    component_is(&ingest, "spool", "ok").await;
    component_is(&ingest, "kafka", "ok").await;
    assert_eq!(post(&ingest, &json!(events(1))).await.status, 202);
    stack.adds_up(31).await;
    ingest.stop().await.unwrap();
    stack.has_no_hole().await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_start_while_nothing_is_there_yet() {
    let stack = Stack::new().await;
    let elsewhere = stack.servers.fresh_name("later");
    let more =
        [("TONEARM_KAFKA_TOPIC_PREFIX", elsewhere.as_str()), ("TONEARM_CLICKHOUSE_DATABASE", elsewhere.as_str())];
    // No topic and no database has that name.
    let sink = stack.sink(&more).await;
    component_is(&sink, "kafka", "down").await;
    component_is(&sink, "clickhouse", "degraded").await;
    let mut kafka = stack.kafka.clone();
    kafka.topic_prefix = elsewhere;
    service::kafka::create_topics(&kafka).await.unwrap();
    healthy(&sink).await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_without_work_says_how_clickhouse_stands() {
    let stack = Stack::new().await;
    let sink = stack.sink(&[]).await;
    component_is(&sink, "clickhouse", "ok").await;
    stack.clickhouse.query("DETACH TABLE repeats SYNC").execute().await.unwrap();
    component_is(&sink, "clickhouse", "degraded").await;
    stack.clickhouse.query("ATTACH TABLE repeats").execute().await.unwrap();
    component_is(&sink, "clickhouse", "ok").await;
    sink.stop().await.unwrap();
}
