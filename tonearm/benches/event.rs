//! `make bench-event`: how long a player waits for `POST /v1/events`, and an analyst for the row.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clickhouse::Client;
use http::Method;
use serde_json::{Value, json};
use service::client::ApiClient;
use support::bare;
use support::figure::{Figure, publish, quantile};
use support::process::Core;
use support::stack::{Stack, WRITE_KEY};
use uuid::Uuid;
use wire::Timestamp;

const WARM_UP: usize = 50;
const POSTS: usize = 2000;
const ROWS: usize = 60;

fn main() -> anyhow::Result<()> {
    bare::become_server_if_asked()?;
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let stack = Stack::start(Core::First).await?;
    let (_ingest, url) = stack.role("ingest", &[]).await?;
    let (_sink, _) = stack.role("sink", &[]).await?;
    let events = format!("{url}/v1/events");
    let clickhouse = Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
    let (_bare, bare_url) = bare::start(30).await?;
    post_many(&events, WARM_UP).await?;
    let mut posted = post_many(&events, POSTS).await?;
    let mut ceiling = post_many(&bare_url, POSTS).await?;
    let mut visible = rows_visible(&events, &clickhouse).await?;
    all_arrived(&clickhouse, (WARM_UP + POSTS + ROWS) as u64).await?;
    publish(
        "event",
        &[
            Figure::new("POST answered (Kafka has it), p50", quantile(&mut posted, 50), "ms")
                .against("bare hyper POST", quantile(&mut ceiling, 50)),
            Figure::new("POST answered (Kafka has it), p99", quantile(&mut posted, 99), "ms")
                .against("bare hyper POST", quantile(&mut ceiling, 99)),
            Figure::new("row visible in ClickHouse, p50", quantile(&mut visible, 50), "ms"),
            Figure::new("row visible in ClickHouse, p99", quantile(&mut visible, 99), "ms").at_most(2000.0),
        ],
    )
}

fn event(id: Uuid) -> Value {
    json!({
        "event_id": id, "type": "progress", "session_id": format!("s-{}", id.as_u128() % 64), "play_id": "p-1", "seq": 3,
        "user_id": "u-17", "track_id": "trk-001", "position_ms": 30000, "duration_ms": 180_000, "played_ms": 29800,
        "client_ts": Timestamp::now(), "sent_at": Timestamp::now(), "device": "iPhone15,4", "os": "iOS 19",
        "app_version": "4.2", "bitrate_kbps": 128, "codec": "mp4a.40.2", "pop": "fra", "edge_id": "fra-1",
    })
}

async fn post(api: &ApiClient, url: &str) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    api.send_json(Method::POST, url, &event(id)).await?.success()?;
    Ok(id)
}

/// One player after another, each answer timed in milliseconds.
async fn post_many(url: &str, n: usize) -> anyhow::Result<Vec<f64>> {
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(WRITE_KEY);
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let start = Instant::now();
        post(&api, url).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// From the POST until a query finds the row, in milliseconds.
async fn rows_visible(url: &str, clickhouse: &Client) -> anyhow::Result<Vec<f64>> {
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(WRITE_KEY);
    let mut times = Vec::with_capacity(ROWS);
    for _ in 0..ROWS {
        let start = Instant::now();
        let id = post(&api, url).await?;
        while clickhouse.query("SELECT count() FROM events WHERE event_id = ?").bind(id).fetch_one::<u64>().await? == 0
        {
            ensure!(start.elapsed() < Duration::from_secs(30), "event {id} did not become visible");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// A benchmark that loses events measures nothing.
async fn all_arrived(clickhouse: &Client, expected: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (rows, ids) =
            clickhouse.query("SELECT count(), uniqExact(event_id) FROM events").fetch_one::<(u64, u64)>().await?;
        if (rows, ids) == (expected, expected) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{expected} events were accepted, {rows} rows with {ids} ids arrived");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
