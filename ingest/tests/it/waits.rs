//! ClickHouse is slow, stopped or read-only: partitions wait, and everybody can see it.

use std::fs;
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use service::Running;
use service::client::ApiClient;
use wire::topic::Topic;

use crate::refused::change;
use crate::support::{Stack, events, eventually, healthy, post};

/// Longer than Kafka waits for a silent member of a group.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(14);

/// A process that does nothing until it is dropped.
pub(crate) struct Stopped(Pid);

impl Stopped {
    pub(crate) fn new(pid: Pid) -> Self {
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

fn clickhouse(stack: &Stack) -> Pid {
    let port = stack.servers.clickhouse_http.rsplit(':').next().unwrap();
    let argument = format!("--http_port={port}");
    let is_it = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|given| given == argument.as_bytes())
    };
    let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pid = names.filter_map(|name| name.parse().ok()).find(is_it).expect("ClickHouse runs");
    Pid::from_raw(pid).unwrap()
}

async fn get(sink: &Running, path: &str) -> String {
    let api = ApiClient::new(Duration::from_secs(5));
    let answer = api.send(Method::GET, &format!("{}{path}", sink.url()), None).await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Of this test's topic of listens.
async fn gauge(stack: &Stack, sink: &Running, name: &str) -> f64 {
    let topic = Topic::Listens.name(&stack.kafka.topic_prefix);
    let line = format!("{name}{{topic=\"{topic}\"}} ");
    let metrics = get(sink, "/metrics").await;
    metrics.lines().find_map(|told| told.strip_prefix(&line)).map_or(0.0, |value| value.parse().unwrap())
}

/// What waits is seen in health and in both metrics.
async fn is_told(stack: &Stack, sink: &Running, waiting: f64) {
    eventually(Duration::from_secs(60), || async {
        let health: Value = serde_json::from_str(&get(sink, "/health/detailed").await).unwrap();
        let lag = gauge(stack, sink, "tonearm_sink_lag_messages").await;
        let oldest = gauge(stack, sink, "tonearm_sink_oldest_waiting_seconds").await;
        let clickhouse = &health["components"]["clickhouse"]["status"];
        if clickhouse == "degraded" && lag >= waiting && oldest >= 3.0 {
            Ok(())
        } else {
            Err(format!("{clickhouse}, {lag} wait, the oldest for {oldest} s"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_that_does_not_answer_is_waited_for() {
    let stack = Stack::alone().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    assert_eq!(post(&ingest, &json!(events(30))).await.status, 202);
    stack.adds_up(30).await;
    let members = stack.members().await;
    let since = Instant::now();
    let stopped = Stopped::new(clickhouse(&stack));
    assert_eq!(post(&ingest, &json!(events(50))).await.status, 202);
    is_told(&stack, &sink, 50.0).await;
    tokio::time::sleep(LONGER_THAN_A_SESSION.saturating_sub(since.elapsed())).await;
    drop(stopped);
    stack.adds_up(80).await;
    healthy(&sink).await;
    assert_eq!(stack.members().await, members, "the sink left its group");
    eventually(Duration::from_secs(60), || async {
        let lag = gauge(&stack, &sink, "tonearm_sink_lag_messages").await;
        if lag == 0.0 { Ok(()) } else { Err(format!("{lag} wait")) }
    })
    .await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_read_only_is_waited_for() {
    let stack = Stack::new().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    change(&stack, "ALTER TABLE events MODIFY SETTING table_readonly = 1").await;
    assert_eq!(post(&ingest, &json!(events(50))).await.status, 202);
    is_told(&stack, &sink, 50.0).await;
    assert_eq!(stack.number("SELECT count() FROM dead_letter").await, 0);
    change(&stack, "ALTER TABLE events MODIFY SETTING table_readonly = 0").await;
    stack.adds_up(50).await;
    healthy(&sink).await;
    sink.stop().await.unwrap();
}
