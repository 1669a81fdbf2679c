//! Servers that are not there: the roles start, say so, and go on once they are.

use std::time::Duration;

use devstack::Server;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Stack, component_is, events, eventually, health_is, healthy, post};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_refuses_and_comes_back_without_ghosts() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    assert_eq!(post(&ingest, &json!(events(10))).await.status, 202);
    // A sink that has not joined its group yet would be down, not degraded.
    healthy(&sink).await;
    stack.servers.kill(Server::Kafka).await;
    health_is(&ingest, 503).await;
    component_is(&sink, "kafka", "degraded").await;
    // Known to be away: refused at once, and so never stored.
    let refused = json!(events(10));
    let answer = post(&ingest, &refused).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    stack.servers.start(Server::Kafka).await;
    healthy(&ingest).await;
    eventually(Duration::from_secs(30), || async {
        let status = post(&ingest, &json!(events(1))).await.status;
        if status == 202 { Ok(()) } else { Err(format!("{status}")) }
    })
    .await;
    stack.adds_up(11).await;
    let ids: Vec<Uuid> =
        refused.as_array().unwrap().iter().map(|e| e["event_id"].as_str().unwrap().parse().unwrap()).collect();
    let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    assert_eq!(stack.number(&format!("SELECT count() FROM events WHERE event_id IN ({})", list.join(","))).await, 0);
    ingest.stop().await.unwrap();
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
