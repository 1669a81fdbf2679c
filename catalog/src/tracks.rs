//! The API: what operators say about tracks and ask of them.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{RequestPartsExt, Router};
use serde::Deserialize;
use service::Problem;
use service::auth::{AdminToken, require_admin};
use service::limits::read_body;
use service::problem::fresh_json;
use wire::{FieldError, TrackId};

use crate::spec::{read_order, read_spec};
use crate::stored::is_transient;
use crate::track_store::{Changed, Registered, StoreError, TrackStore};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What the handlers need.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) store: TrackStore,
    /// Largest body, in bytes.
    pub(crate) max_body: u64,
}

pub(crate) fn routes(api: Api, admin: AdminToken) -> Router {
    Router::new()
        .route("/v1/tracks", get(list))
        .route("/v1/tracks/{track_id}", get(show).put(register))
        .route("/v1/tracks/{track_id}/publish", post(publish))
        .route("/v1/tracks/{track_id}/withdraw", post(withdraw))
        .route_layer(middleware::from_fn_with_state(admin, require_admin))
        .with_state(api)
}

async fn register(State(api): State<Api>, Track(id): Track, body: Body) -> Result<Response, Problem> {
    let spec = read_spec(&read_body(body, api.max_body).await?)?;
    let (registered, status) = api.store.register(&id, &spec).await?;
    let code = match registered {
        Registered::Created => StatusCode::CREATED,
        Registered::Kept => StatusCode::OK,
    };
    Ok((code, fresh_json(status)).into_response())
}

async fn show(State(api): State<Api>, Track(id): Track) -> Result<Response, Problem> {
    Ok(fresh_json(api.store.get(&id).await?))
}

async fn publish(State(api): State<Api>, Track(id): Track, body: Body) -> Result<Response, Problem> {
    let order = read_order(&read_body(body, api.max_body).await?)?;
    let (changed, status) = api.store.publish(&id, order).await?;
    Ok((code_of(changed), fresh_json(status)).into_response())
}

async fn withdraw(State(api): State<Api>, Track(id): Track) -> Result<Response, Problem> {
    let (changed, status) = api.store.withdraw(&id).await?;
    Ok((code_of(changed), fresh_json(status)).into_response())
}

/// The edges hear of a change after the answer; where nothing changed, nothing is under way for it.
fn code_of(changed: Changed) -> StatusCode {
    match changed {
        Changed::Yes => StatusCode::ACCEPTED,
        Changed::No => StatusCode::OK,
    }
}

/// Texts, so that a bad one is refused by its name.
#[derive(Deserialize)]
struct PageQuery {
    after: Option<String>,
    limit: Option<String>,
}

async fn list(State(api): State<Api>, query: Result<Query<PageQuery>, QueryRejection>) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| FieldError::new("query", e.body_text()))?;
    let after = query.after.map(TrackId::new).transpose().map_err(|e| FieldError::new("after", e.to_string()))?;
    let limit = query.limit.map_or(Ok(DEFAULT_LIMIT), |text| limit(&text))?;
    Ok(fresh_json(api.store.list(after.as_ref(), limit).await?))
}

fn limit(text: &str) -> Result<u32, FieldError> {
    let number = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    number.ok_or_else(|| FieldError::new("limit", format!("must be a number between 1 and {MAX_LIMIT}")))
}

/// The track that the path names, percent-decoded.
struct Track(TrackId);

impl<S: Send + Sync> FromRequestParts<S> for Track {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = parts.extract().await;
        let Path(text) = path.map_err(|e| FieldError::new("track_id", e.body_text()))?;
        let id = TrackId::new(text).map_err(|e| FieldError::new("track_id", e.to_string()))?;
        Ok(Self(id))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::not_found(error.to_string()),
            StoreError::Refused(refusal) => Self::new(StatusCode::CONFLICT, "impossible-step", refusal.to_string()),
            StoreError::UnknownPop { index, .. } => {
                Self::field(FieldError::new(format!("pops[{index}]"), error.to_string()))
            }
            StoreError::Database(error) if is_transient(&error) => {
                tracing::warn!(%error, "a request could not reach PostgreSQL");
                Self::unavailable("PostgreSQL is away; nothing is known to be changed", 2)
            }
            StoreError::Database(error) => Self::internal(&error),
        }
    }
}
