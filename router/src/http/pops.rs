//! `GET /v1/pops`: the fleet as this router sees it at this moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use service::problem::fresh_json;
use wire::fleet::{Edge, Place};
use wire::{PopId, Timestamp};

use super::App;
use crate::fleet::Site;

#[derive(Serialize)]
struct Answer<'a> {
    snapshot_version: u64,
    /// When PostgreSQL last confirmed the fleet.
    confirmed_at: Timestamp,
    pops: Vec<Pop<'a>>,
    /// Entries of the database that cannot be used, with the reason.
    refused: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Pop<'a> {
    pop: &'a PopId,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a Place>,
    edges: Vec<EdgeNow<'a>>,
}

#[derive(Serialize)]
struct EdgeNow<'a> {
    #[serde(flatten)]
    edge: &'a Edge,
    /// Whether it may get listeners.
    fit: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    rtt_ms: Option<f64>,
    jitter_ms: f64,
    loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
}

#[derive(Serialize)]
struct Report {
    age_ms: u64,
    load: f64,
    network_load: f64,
    hit_ratio: Option<f64>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    let (snapshot, now) = (app.snapshots.current(), Instant::now());
    let mut pops: BTreeMap<&PopId, Pop<'_>> = BTreeMap::new();
    for site in snapshot.fleet.edges() {
        let pop = &site.edge.pop;
        let entry = pops.entry(pop).or_insert(Pop { pop, place: site.edge.place.as_ref(), edges: Vec::new() });
        entry.edges.push(edge_now(&app, site, now));
    }
    fresh_json(Answer {
        snapshot_version: snapshot.version,
        confirmed_at: snapshot.confirmed_at,
        pops: pops.into_values().collect(),
        refused: snapshot.fleet.refused(),
    })
}

fn edge_now<'a>(app: &App, site: &'a Site, now: Instant) -> EdgeNow<'a> {
    let view = app.decider.view(site, None, now);
    EdgeNow {
        edge: &site.edge,
        fit: view.fit.is_ok(),
        reason: view.fit.err().map(|unfit| unfit.to_string()),
        rtt_ms: view.rtt_ms,
        jitter_ms: view.jitter_ms,
        loss: view.loss,
        report: site.live.read().report.map(|report| Report {
            age_ms: u64::try_from(report.age(now).as_millis()).unwrap_or(u64::MAX),
            load: report.load,
            network_load: report.network_load,
            hit_ratio: report.hit_ratio,
        }),
    }
}
