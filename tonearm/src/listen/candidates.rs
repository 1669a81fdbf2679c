//! Asking the router, and measuring what it offers.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use http::Method;
use service::client::ApiClient;
use tokio::time::Instant;
use url::Url;
use wire::decision::{RouteAnswer, RouteCandidate};
use wire::measurement::{EdgeMeasurement, Measurements};

use super::fetch::Fetcher;

const PINGS: usize = 3;

/// Asks the router where to play a track from.
///
/// # Errors
/// When the router does not answer, or not with candidates.
pub(crate) async fn ask(api: &ApiClient, router: &str, track: &str) -> anyhow::Result<RouteAnswer> {
    let mut url = Url::parse(router)?.join("/v1/route")?;
    url.query_pairs_mut().append_pair("track", track);
    let answer: RouteAnswer = api.get(url.as_str()).await?.success()?.json()?;
    anyhow::ensure!(!answer.candidates.is_empty(), "the router answered without candidates");
    Ok(answer)
}

/// Pings every candidate three times, all candidates side by side.
pub(crate) async fn measure(fetcher: &Fetcher, answer: &RouteAnswer) -> Measurements {
    let edges = join_all(answer.candidates.iter().map(|candidate| ping(fetcher, candidate))).await;
    Measurements { decision_id: answer.decision_id, edges }
}

/// The first request of a connection also pays for opening it, so it is not counted.
async fn ping(fetcher: &Fetcher, candidate: &RouteCandidate) -> EdgeMeasurement {
    let mut measured = EdgeMeasurement { edge: candidate.inputs.edge.clone(), rtt_ms: Vec::new(), lost: 0 };
    if fetcher.get(&candidate.probe_url).await.is_err() {
        measured.lost = 1;
        return measured;
    }
    for _ in 0..PINGS {
        let start = Instant::now();
        match fetcher.get(&candidate.probe_url).await {
            Ok(fetched) => measured.rtt_ms.push(millis(fetched.ttfb.min(start.elapsed()))),
            Err(_) => measured.lost += 1,
        }
    }
    measured
}

/// Reports what was measured.
///
/// # Errors
/// When the router does not take it; the listener plays on all the same.
pub(crate) async fn report(api: &ApiClient, router: &str, measured: &Measurements) -> anyhow::Result<()> {
    let url = format!("{router}/v1/measurements");
    api.send_json(Method::POST, &url, measured).await?.success().context("the router refused the measurements")?;
    Ok(())
}

/// The middle of an edge's pings, in milliseconds.
pub(crate) fn median(measured: &EdgeMeasurement) -> Option<f64> {
    let mut sorted = measured.rtt_ms.clone();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
