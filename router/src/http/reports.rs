//! `POST /v1/fleet/reports`: what an edge says of its load, each second.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use service::Problem;
use service::limits::whole_body;
use service::problem::fresh_json;
use wire::FieldError;
use wire::load::LoadReport;

use super::{App, unknown_edge};
use crate::meters::REPORTS;

#[derive(Serialize)]
struct Answer {
    /// False where a newer report is known.
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) async fn take(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let report = whole_body(body).and_then(|body| Ok(LoadReport::parse(&body)?)).inspect_err(|_| count("malformed"))?;
    let snapshot = app.snapshots.current();
    let site = snapshot.fleet.find(&report.edge_id).ok_or_else(|| {
        count("unknown_edge");
        unknown_edge(&report.edge_id)
    })?;
    if site.edge.pop != report.pop {
        count("malformed");
        let detail = format!("must be {}, where {} stands, not {}", site.edge.pop, report.edge_id, report.pop);
        return Err(FieldError::new("pop", detail).into());
    }
    if site.live.change(|signals| signals.accept(&report, Instant::now(), app.report_max_age)) {
        count("accepted");
        return Ok(fresh_json(Answer { accepted: true, reason: None }));
    }
    count("late");
    Ok(fresh_json(Answer { accepted: false, reason: Some("a report of this edge that is as new or newer is known") }))
}

fn count(result: &str) {
    REPORTS.counter(&[("result", result.into())]).increment(1);
}
