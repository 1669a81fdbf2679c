//! `make bench-route`: `GET /v1/route` against a bare hyper answer of equal size, in the same run.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::Method;
use serde_json::json;
use service::client::ApiClient;
use support::bare;
use support::figure::{Figure, median, publish};
use support::process::Core;
use support::stack::{ADMIN_TOKEN, Stack};
use support::wrk::{self, Load};
use wire::Timestamp;

const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
const EDGES: usize = 5;
const TRACK: &str = "trk-bench";

fn main() -> anyhow::Result<()> {
    bare::become_server_if_asked()?;
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let stack = Stack::start(Core::First).await?;
    publish_track(&stack).await?;
    let data = stack.folder("router").display().to_string();
    let (router, url) = stack.role("router", &[("TONEARM_ROUTER_DATA_DIR", &data)]).await?;
    register_edges(&url).await?;
    let route = format!("{url}/v1/route?track={TRACK}");
    let bytes = answer_bytes(&route).await?;
    let (ceiling, bare_url) = bare::start(bytes).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(wrk::run(&router, &route, &[], SECONDS)?);
        theirs.push(wrk::run(&ceiling, &bare_url, &[], SECONDS)?);
    }
    let of = |loads: &[Load], what: fn(&Load) -> f64| median(loads.iter().map(what).collect());
    let figure = |name: &str, unit, what: fn(&Load) -> f64| {
        Figure::new(name, of(&ours, what), unit).against("bare hyper", of(&theirs, what))
    };
    publish(
        "route",
        &[
            figure("GET /v1/route, requests/s", "req/s", |l| l.requests_s).ratio_at_least(0.8),
            figure("GET /v1/route, CPU a request", "us", |l| l.cpu_us),
            figure("GET /v1/route, p50", "ms", |l| l.p50_ms),
            figure("GET /v1/route, p99", "ms", |l| l.p99_ms),
        ],
    )
}

/// Before there is any edge, a published track is live as soon as the catalog has seen its event.
async fn publish_track(stack: &Stack) -> anyhow::Result<()> {
    let (_catalog, url) = stack.role("catalog", &[]).await?;
    let api = ApiClient::new(Duration::from_secs(10)).with_bearer(ADMIN_TOKEN);
    let key = "tracks/trk-bench/v1/track.m4a";
    let spec = json!({
        "title": "Bench", "artist": "Bench", "duration_ms": 60000,
        "renditions": [{"kind": "progressive", "key": key, "codec": "mp4a.40.2", "bitrate_kbps": 256}],
        "objects": [{"key": key, "bytes": 1, "content_type": "audio/mp4"}],
    });
    let track = format!("{url}/v1/tracks/{TRACK}");
    api.send_json(Method::PUT, &track, &spec).await?.success()?;
    api.send_json(Method::POST, &format!("{track}/publish"), &json!({})).await?.success()?;
    for _ in 0..300 {
        let status: serde_json::Value = api.get(&track).await?.success()?.json()?;
        if status["state"] == "live" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the track did not go live")
}

/// Edges that answer probes from this process and report a light load each second.
async fn register_edges(router: &str) -> anyhow::Result<()> {
    let api = ApiClient::new(Duration::from_secs(5)).with_bearer(ADMIN_TOKEN);
    for i in 0..EDGES {
        let url = bare::answer_all(200, Bytes::from_static(b"pong")).await?;
        let id = format!("fra-{i}");
        let edge = json!({"edge_id": id, "pop": "fra", "url": url, "admin_url": url, "capacity_bps": 1_000_000_000});
        api.send_json(Method::PUT, &format!("{router}/v1/fleet/edges/{id}"), &edge).await?.success()?;
        tokio::spawn(report(api.clone(), router.to_owned(), id));
    }
    Ok(())
}

async fn report(api: ApiClient, router: String, id: String) {
    let started_at = Timestamp::now();
    for seq in 1u64.. {
        let report = json!({
            "edge_id": id, "pop": "fra", "started_at": started_at, "seq": seq, "sent_at": Timestamp::now(),
            "cpu": 0.2, "memory": 0.2, "disk_io_bytes_s": 0, "disk_capacity_bytes_s": 0,
            "connections": 10, "connections_max": 10000,
            "network_out_bps": 1000 * seq, "network_capacity_bps": 1_000_000_000,
        });
        // A report that is lost shows: the edge goes stale and the answers change their size.
        let _ = api.send_json(Method::POST, &format!("{router}/v1/fleet/reports"), &report).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Once three candidates have been probed and the answer is whole.
async fn answer_bytes(route: &str) -> anyhow::Result<usize> {
    let api = ApiClient::new(Duration::from_secs(5));
    for _ in 0..100 {
        let answer = api.get(route).await?;
        let json: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let probed =
            json["candidates"].as_array().is_some_and(|c| c.len() == 3 && c.iter().all(|c| c["rtt_ms"].is_number()));
        if probed {
            return Ok(answer.body.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(false, "the router did not offer three probed candidates");
    Ok(0)
}
