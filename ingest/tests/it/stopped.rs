//! A sink that is stopped for longer than its group waits, and goes on.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use service::Shutdown;
use service::client::ApiClient;
use tokio::task::JoinHandle;
use uuid::Uuid;
use wire::topic::Topic;

use crate::killed::{SinkProcess, random_moment, stream};
use crate::landing::{decision, delivery};
use crate::support::{ADMIN_TOKEN, Stack, events, post};
use crate::waits::Stopped;

const SMALL: [(&str, &str); 2] = [("TONEARM_SINK_BATCH_ROWS", "40"), ("TONEARM_SINK_BATCH_WAIT", "20ms")];
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(14);

fn named(id: &str) -> Vec<(&str, &str)> {
    [("TONEARM_SINK_ID", id)].into_iter().chain(SMALL).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_others_have_replaced_doubles_nothing_and_works_again() {
    let stack = Stack::new().await;
    let ingest = Arc::new(stack.ingest(&[]).await);
    let stop = Shutdown::new();
    let streaming = stream(ingest.clone(), stop.clone());
    let zombie = SinkProcess::start(&stack, &named("zombie"));
    let other = SinkProcess::start(&stack, &named("other"));
    for _ in 0..2 {
        stack.both_have_partitions().await;
        random_moment(700).await;
        let stopped = Stopped::new(zombie.pid());
        // What it held goes on elsewhere: everything that is in Kafka by now is stored without it.
        tokio::time::sleep(LONGER_THAN_A_SESSION).await;
        let by_now = stack.kafka_messages(Topic::Listens).await;
        stack.until(&format!("SELECT toUInt64(count() >= {by_now}) FROM events"), 1).await;
        drop(stopped);
    }
    // Back at work: alone, it has to store the rest.
    stack.both_have_partitions().await;
    drop(other);
    stop.cancel();
    let accepted = streaming.await.unwrap();
    assert_eq!(post(&ingest, &json!(events(50))).await.status, 202);
    stack.adds_up(accepted + 50).await;
}

/// Deliveries and decisions, some of them twice, until it is told to stop; how many different ones of each.
fn others(stack: &Arc<Stack>, url: String, stop: Shutdown) -> JoinHandle<u64> {
    let stack = stack.clone();
    tokio::spawn(async move {
        let api = ApiClient::new(Duration::from_secs(60)).with_bearer(ADMIN_TOKEN);
        let mut different = 0;
        while !stop.is_cancelled() {
            let (mut delivered, mut decided) = (delivery(), decision());
            (delivered["delivery_id"], decided["decision_id"]) = (json!(Uuid::now_v7()), json!(Uuid::now_v7()));
            let body = json!({"deliveries": [delivered, delivered]});
            let answer = api.send_json(Method::POST, &format!("{url}/v1/deliveries"), &body).await.unwrap();
            assert_eq!(answer.status, 202);
            let (key, decided) = (decided["decision_id"].to_string(), decided.to_string());
            stack.produce(Topic::Decisions, &key, &[decided.clone(), decided]).await;
            different += 1;
        }
        different
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_topics_over_sinks_that_come_and_go() {
    let stack = Arc::new(Stack::new().await);
    let ingest = Arc::new(stack.ingest(&[]).await);
    let stop = Shutdown::new();
    let streaming = stream(ingest.clone(), stop.clone());
    let others = others(&stack, ingest.url(), stop.clone());
    let _stays = SinkProcess::start(&stack, &named("stays"));
    for _ in 0..5 {
        let _comes = SinkProcess::start(&stack, &named("comes"));
        random_moment(4000).await;
    }
    stop.cancel();
    let (accepted, different) = (streaming.await.unwrap(), others.await.unwrap());
    stack.adds_up(accepted).await;
    for (topic, table, id) in
        [(Topic::Deliveries, "deliveries", "delivery_id"), (Topic::Decisions, "decisions", "decision_id")]
    {
        stack.until(&format!("SELECT uniqExact({id}) FROM {table}"), different).await;
        stack.has_every_offset_of(topic, table).await;
        assert_eq!(stack.number(&format!("SELECT count() FROM {table}")).await, different, "{table}");
        let all = stack.kafka_messages(topic).await;
        let stored = format!(
            "SELECT count() FROM (SELECT _offset FROM {table} UNION ALL SELECT _offset FROM repeats WHERE topic = '{}')",
            topic.name(&stack.kafka.topic_prefix)
        );
        stack.until(&stored, all).await;
    }
}
