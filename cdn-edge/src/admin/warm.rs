//! `/v1/warm`: orders that are waited for, and orders that go on behind their answers.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use service::Problem;
use service::limits::whole_body;
use service::problem::fresh_json;
use uuid::Uuid;
use wire::track::WarmOrder;

use super::Admin;
use crate::warm::jobs::{JobError, Progress};
use crate::warm::order::WarmRequest;
use crate::warm::pace::Pace;
use crate::warm::warm;

/// Results of one answer.
const PAGE: usize = 1000;
const MAX_PAGE: usize = 10_000;

#[derive(Serialize)]
struct Ordered {
    id: Uuid,
    url: String,
}

#[derive(Serialize)]
struct Orders {
    orders: Vec<Progress>,
}

/// Which results are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    offset: usize,
    limit: Option<usize>,
}

/// An order that takes longer than the request may is gone on with: sent again, it finds more held.
pub(super) async fn order(
    State(admin): State<Admin>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let order: WarmRequest = wire::field::parse(&whole_body(body)?)?;
    order.check(admin.library.names())?;
    if !order.waits() {
        return begin(&admin, order).await;
    }
    let Ok(turn) = admin.warm_orders.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many warm orders are under way", 1));
    };
    let warming = tokio::spawn(async move {
        let _turn = turn;
        let pace = Pace::new(order.bytes_per_s.unwrap_or(0));
        warm(&admin.library, WarmOrder { keys: order.keys }, admin.warm_concurrency, &pace).await
    });
    let answer = warming.await.map_err(|error| Problem::internal(&error))?;
    Ok(fresh_json(answer))
}

async fn begin(admin: &Admin, order: WarmRequest) -> Result<Response, Problem> {
    let id = admin.jobs.order(order).await.map_err(|error| match error {
        JobError::Busy => Problem::unavailable(error.to_string(), 5),
        JobError::NotKept(_) => Problem::unavailable(error.to_string(), 1),
    })?;
    let url = format!("/v1/warm/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, url.clone())], Json(Ordered { id, url })).into_response())
}

pub(super) async fn list(State(admin): State<Admin>) -> Response {
    fresh_json(Orders { orders: admin.jobs.list() })
}

pub(super) async fn progress(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| wire::FieldError::new("query", error.body_text()))?;
    let limit = page.limit.unwrap_or(PAGE).min(MAX_PAGE);
    let found = id.parse().ok().and_then(|id| admin.jobs.progress(id, page.offset, limit));
    found.map(fresh_json).ok_or_else(unknown)
}

pub(super) async fn cancel(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    let cancelled = id.parse().is_ok_and(|id| admin.jobs.cancel(id));
    if cancelled { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
}

fn unknown() -> Problem {
    Problem::not_found("no warm order of this id is remembered")
}
