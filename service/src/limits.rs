//! What bounds every request that axum serves: its body, its time, a panic in its handler.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::HttpConfig;
use crate::{Health, Problem};

/// A role's routes with what all roles have: health, metrics, the API's description, limits, and a
/// problem for what matches no route.
pub fn complete(routes: Router, openapi: &'static str, health: &Health, config: &HttpConfig) -> Router {
    let json = [("content-type", "application/json")];
    let (brief, detailed) = (health.clone(), health.clone());
    let timeout = config.request_timeout.0;
    routes
        .route("/health", get(move || async move { brief.brief_response() }))
        .route("/health/detailed", get(move || async move { detailed.detailed_response() }))
        .route(
            "/metrics",
            get(|| async { ([("content-type", "text/plain; version=0.0.4")], crate::metrics::render()) }),
        )
        .route("/openapi.json", get(move || async move { (json, openapi) }))
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the path does not take this method")
        })
        .layer(DefaultBodyLimit::max(body_limit(config)))
        .layer(middleware::from_fn(move |request, next| in_time(timeout, request, next)))
        .layer(CatchPanicLayer::custom(on_panic))
}

fn body_limit(config: &HttpConfig) -> usize {
    usize::try_from(config.max_body.as_u64()).unwrap_or(usize::MAX)
}

async fn in_time(timeout: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow(),
    }
}

/// An answer that is not the routes', with the limits that [`complete`] sets theirs.
pub(crate) async fn bounded(time: impl Future<Output = ()>, answer: impl Future<Output = Response>) -> Response {
    // Whatever a handler shares it leaves whole: the routes' handlers are caught in the same way.
    let caught = AssertUnwindSafe(answer).catch_unwind();
    tokio::select! {
        biased;
        answer = caught => answer.unwrap_or_else(on_panic),
        () = time => too_slow(),
    }
}

fn too_slow() -> Response {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long").into_response()
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is CatchPanicLayer's")]
fn on_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&Arc::<str>::from(text.unwrap_or("a handler panicked"))).into_response()
}

/// Reads a whole body of at most `max` bytes.
///
/// # Errors
/// 413 when it is longer, 400 when it breaks off.
pub async fn read_body<B>(body: B, max: u64) -> Result<Bytes, Problem>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) => Err(body_problem(e.as_ref(), max)),
    }
}

/// A body that an axum handler was to get whole.
///
/// # Errors
/// 413 when it is longer than the route takes, 400 when it breaks off.
pub fn whole_body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large("the body is longer than is taken here"),
        _ => broken(),
    })
}

/// What to answer when a [`Limited`] body could not be read to its end: 413 or 400.
#[must_use]
pub fn body_problem(error: &(dyn std::error::Error + Send + Sync + 'static), max: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return too_large(format!("the body is longer than {max} bytes"));
    }
    broken()
}

fn too_large(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

fn broken() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "body-broken", "the body broke off")
}
