//! `POST /v1/measurements`: round trips that a player measured to the edges it was offered.
//!
//! Bound to a decision that this router made lately for the same network, counted once for each, and
//! once a minute for each address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use service::Problem;
use service::limits::whole_body;
use service::problem::fresh_json;
use wire::decision::Decision;
use wire::measurement::Measurements;

use super::{App, listener_of};
use crate::meters::MEASUREMENTS;
use wire::ClientNet;

#[derive(Serialize)]
struct Answer {
    /// Whether it was added to the estimates.
    counted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) async fn take(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let address = listener_of(&app, peer, &headers);
    let net = ClientNet::of(address);
    let checked = whole_body(body).and_then(|body| Ok(Measurements::parse(&body)?));
    let checked = checked.and_then(|m| check(&app, net, &m).map(|()| m));
    let measured = checked.inspect_err(|_| count("refused"))?;
    if !app.recent.measure_once(measured.decision_id) {
        return Ok(answer("repeated", Some("this decision has been measured before")));
    }
    if !app.estimates.take_turn(address) {
        return Ok(answer("too_soon", Some("this address has measured within the last minute")));
    }
    add(&app, net, &measured);
    Ok(answer("counted", None))
}

fn answer(result: &'static str, reason: Option<&'static str>) -> Response {
    count(result);
    (StatusCode::ACCEPTED, fresh_json(Answer { counted: reason.is_none(), reason })).into_response()
}

fn count(result: &str) {
    MEASUREMENTS.counter(&[("result", result.into())]).increment(1);
}

/// Whether these edges were offered to this network lately.
fn check(app: &App, net: ClientNet, measured: &Measurements) -> Result<(), Problem> {
    let json = app.recent.get(measured.decision_id);
    let json = json.ok_or_else(|| Problem::not_found("this router made no such decision lately"))?;
    let decision: Decision = serde_json::from_slice(&json).map_err(|e| Problem::internal(&e))?;
    if decision.client_net != net.to_string() {
        return Err(unprocessable("decision_id", "was made for a listener of another network".into()));
    }
    for (i, edge) in measured.edges.iter().enumerate() {
        let field = || format!("edges[{i}].edge");
        if !decision.candidates.iter().any(|candidate| candidate.edge == edge.edge) {
            return Err(unprocessable(&field(), "is no candidate of the decision".into()));
        }
        if measured.edges[..i].iter().any(|before| before.edge == edge.edge) {
            return Err(unprocessable(&field(), format!("{} stands there twice", edge.edge)));
        }
    }
    Ok(())
}

/// 422: well-formed, but not true of this decision.
fn unprocessable(field: &str, detail: String) -> Problem {
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "other-decision", detail);
    problem.field = Some(field.to_owned());
    problem
}

/// An edge without a probed round trip has nothing to hold a claim against: its measurements are left out.
fn add(app: &App, net: ClientNet, measured: &Measurements) {
    let (snapshot, now) = (app.snapshots.current(), Instant::now());
    for edge in &measured.edges {
        let probed = snapshot.fleet.find(&edge.edge).and_then(|site| site.live.read().path().rtt_ms);
        if let Some(probed_ms) = probed {
            app.estimates.add(net, &edge.edge, &edge.rtt_ms, probed_ms, now);
        }
    }
}
