//! ListenBrainz's API, as its clients use it: `POST /1/submit-listens` and `GET /1/validate-token`.
//!
//! Answers have that API's shapes: `{"status":"ok"}`, or `{"code","error"}` with 400, 401, 429 or 503 and nothing else. A
//! client repeats a POST that was answered with 429 or 503, and the same listens become the same events.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::json;
use service::Problem;
use tower_http::cors::{Any, CorsLayer};
use wire::Timestamp;
use wire::event::WireFormat;

use crate::accept;
use crate::formats::listenbrainz::{Listener, parse};
use crate::keys::Keyed;
use crate::keys::check::token;
use crate::metrics;
use crate::players::Asked;
use crate::privacy::Subject;
use crate::server::Ingest;

pub(crate) fn routes() -> Router<Arc<Ingest>> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .max_age(std::time::Duration::from_secs(3600));
    Router::new()
        .route("/1/submit-listens", post(submit_listens).options(|| async {}))
        .route("/1/validate-token", get(validate_token).options(|| async {}))
        .layer(cors)
}

async fn submit_listens(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let key = match ingest.listener(token(&headers)) {
        Ok(key) => key,
        Err(problem) => return refused(&problem),
    };
    let asked = Asked { key: key.clone(), uri, headers, peer: peer.ip() };
    let mut answer = ingest.take_listens(&asked, body).await.unwrap_or_else(|problem| refused(&problem));
    if let Some(allowance) = key.allowance() {
        allowance.write_as_listenbrainz(answer.headers_mut(), Timestamp::now());
    }
    answer
}

#[derive(Deserialize)]
struct TokenInQuery {
    token: Option<String>,
}

async fn validate_token(State(ingest): State<Arc<Ingest>>, uri: Uri, headers: HeaderMap) -> Response {
    // Old clients write it into the query.
    let in_query = Query::<TokenInQuery>::try_from_uri(&uri).ok().and_then(|query| query.0.token);
    let Some(shown) = token(&headers).or(in_query.as_deref()).filter(|token| !token.is_empty()) else {
        return error(StatusCode::BAD_REQUEST, "You need to provide an Authorization token.");
    };
    match ingest.keys.user(shown) {
        Ok(Some(key)) => {
            let user = key.user_id().unwrap_or_default();
            fresh(&json!({"code": 200, "message": "Token valid.", "valid": true, "user_name": user}))
        }
        Ok(None) => fresh(&json!({"code": 200, "message": "Token invalid.", "valid": false})),
        Err(problem) => refused(&problem),
    }
}

impl Ingest {
    /// # Errors
    /// 401 for none or a wrong token, 503 before any is known.
    fn listener(&self, token: Option<&str>) -> Result<Keyed, Problem> {
        let Some(token) = token else {
            return Err(Problem::unauthorized("You need to provide an Authorization header."));
        };
        self.keys.user(token)?.ok_or_else(|| Problem::unauthorized("Invalid authorization token."))
    }

    async fn take_listens(&self, asked: &Asked, body: Body) -> Result<Response, Problem> {
        let received_at = Timestamp::now();
        asked.key.spend(0)?;
        self.road.check()?;
        let held = self.intake.read(&asked.headers, body).await?;
        metrics::EVENTS.bytes.increment(held.received as u64);
        let submission = match parse(&held.body, received_at) {
            Ok(submission) => submission,
            Err(invalid) => return Ok(error(StatusCode::BAD_REQUEST, &invalid.to_string())),
        };
        asked.key.spend(submission.listens.len())?;
        let context = self.context(asked, received_at, WireFormat::ListenBrainz)?;
        let user_id = asked.key.user_id().unwrap_or_default();
        let pseudonym = context.hasher.pseudonyms().all(Subject::User, user_id).swap_remove(0);
        let listener = Listener { app: context.app, user_id, pseudonym: &pseudonym };
        let events = submission.events(&listener, received_at).into_iter();
        let pending = self.listens.send(events.map(|event| accept::event(b"", Ok(event), &context)));
        Ok(told(pending.answer().await.status()))
    }
}

/// All of it is kept, or the client is to send all of it again.
fn told(status: StatusCode) -> Response {
    match status {
        StatusCode::ACCEPTED => fresh(&json!({"status": "ok"})),
        StatusCode::BAD_REQUEST => error(status, "A listen is too large."),
        _ => error(StatusCode::SERVICE_UNAVAILABLE, "The listens could not be kept, please send them again."),
    }
}

/// A problem in ListenBrainz's shape, with the statuses that its clients know.
fn refused(problem: &Problem) -> Response {
    let status = match problem.status {
        status @ (StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) => status,
        status if status.is_client_error() => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = error(status, &problem.detail);
    if status != StatusCode::BAD_REQUEST {
        answer.headers_mut().extend(problem.headers().iter().cloned());
    }
    answer
}

fn error(status: StatusCode, error: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({"code": status.as_u16(), "error": error})))
        .into_response()
}

fn fresh(body: &serde_json::Value) -> Response {
    service::problem::fresh_json(body)
}
