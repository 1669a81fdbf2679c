//! `kill -9` of the sink in mid-stream loses nothing and doubles nothing.

use std::time::{Duration, Instant};

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use service::client::ApiClient;
use uuid::Uuid;
use wire::Timestamp;

use crate::support::process::Core;
use crate::support::stack::{Stack, WRITE_KEY};

const KILLS: usize = 8;
const BATCH: usize = 250;
/// Between two batches: below the rate that a key has.
const PACE: Duration = Duration::from_millis(300);

/// Posts batches until told to stop; returns how many events were accepted.
async fn post_until(url: String, stop: tokio_util::sync::CancellationToken) -> u64 {
    let api = ApiClient::new(Duration::from_secs(40)).with_bearer(WRITE_KEY);
    let (mut accepted, mut pace) = (0, tokio::time::interval(PACE));
    while !stop.is_cancelled() {
        pace.tick().await;
        let batch: Vec<Value> = (0..BATCH).map(|i| event(i % 16)).collect();
        let answer = api.send_json(Method::POST, &format!("{url}/v1/events"), &batch).await.unwrap();
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        accepted += BATCH as u64;
    }
    accepted
}

fn event(session: usize) -> Value {
    json!({
        "event_id": Uuid::now_v7(), "type": "progress", "session_id": format!("session-{session}"),
        "track_id": "trk-001", "client_ts": Timestamp::now(), "played_ms": 30000,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_lost_and_nothing_doubled() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let (_ingest, ingest) = stack.role("ingest", &[]).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let posting = tokio::spawn(post_until(ingest, stop.clone()));
    let mut random = StdRng::seed_from_u64(7);
    // Small batches make many moments between intent, insert and commit.
    let small = [("TONEARM_SINK_BATCH_ROWS", "300"), ("TONEARM_SINK_BATCH_WAIT", "50ms")];
    for _ in 0..KILLS {
        let (sink, _) = stack.role("sink", &small).await.unwrap();
        // The moment of the kill is the test's one free variable; it is not a wait for anything.
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        sink.kill();
    }
    let (_sink, _) = stack.role("sink", &small).await.unwrap();
    stop.cancel();
    let accepted = posting.await.unwrap();

    let clickhouse =
        clickhouse::Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let counts = "SELECT count(), uniqExact(event_id), uniqExact(_partition, _offset) FROM events";
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let found: (u64, u64, u64) = clickhouse.query(counts).fetch_one().await.unwrap();
        assert!(found.0 <= accepted, "doubled: {found:?} of {accepted}");
        if found == (accepted, accepted, accepted) {
            break;
        }
        assert!(Instant::now() < deadline, "lost: {found:?} of {accepted}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
