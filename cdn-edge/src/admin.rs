//! The operators' listener: warm, purge, what is held.

mod warm;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use service::auth::{AdminToken, require_admin};
use service::config::HttpConfig;
use service::problem::fresh_json;
use service::{Health, Problem, limits};
use tokio::sync::Semaphore;
use wire::{FieldError, Timestamp};

use crate::library::Library;
use crate::library::purge::{Purged, read as read_order};
use crate::warm::jobs::Jobs;

/// Warm orders that are waited for at a time; the next is told to come later.
const WARM_ORDERS: usize = 8;

#[derive(Debug, Clone)]
struct Admin {
    library: Arc<Library>,
    warm_concurrency: usize,
    warm_orders: Arc<Semaphore>,
    jobs: Arc<Jobs>,
}

#[derive(Debug, Serialize)]
struct PurgeAnswer {
    /// How many of the keys were held. What prefixes and tags mean is not counted.
    purged: usize,
    /// Counts purges: an answer that was asked for after it is not concerned.
    purge: u64,
}

/// Answer of `GET /v1/objects/{key}`.
#[derive(Debug, Serialize)]
struct HeldObject<'a> {
    key: &'a str,
    /// Null as long as an answer without its length is under way.
    bytes: Option<u64>,
    etag: Option<&'a str>,
    chunks: usize,
    chunks_in_memory: usize,
    chunks_on_disk: usize,
    age_s: i64,
    fresh_until: Option<Timestamp>,
    /// Answers that are held under the key.
    variants: usize,
}

/// All routes of the operators' listener.
pub fn routes(
    library: Arc<Library>,
    jobs: Arc<Jobs>,
    warm_concurrency: usize,
    token: AdminToken,
    health: &Health,
    http: &HttpConfig,
) -> Router {
    let admin = Admin { library, warm_concurrency, warm_orders: Arc::new(Semaphore::new(WARM_ORDERS)), jobs };
    let operators = Router::new()
        .route("/v1/warm", post(warm::order).get(warm::list))
        .route("/v1/warm/{id}", get(warm::progress).delete(warm::cancel))
        .route("/v1/purge", post(purge))
        .route("/v1/objects/{*key}", get(held))
        .route_layer(middleware::from_fn_with_state(token, require_admin))
        .with_state(admin);
    limits::complete(operators, crate::OPENAPI, health, http)
}

async fn purge(State(admin): State<Admin>, body: Bytes) -> Result<Response, Problem> {
    let (order, targets) = read_order(&body, admin.library.names())?;
    match admin.library.purge(&order, targets).await {
        Ok(Purged { purge, held }) => Ok(fresh_json(PurgeAnswer { purged: held, purge })),
        Err(error) => Err(Problem::unavailable(error.to_string(), 1)),
    }
}

async fn held(State(admin): State<Admin>, Path(key): Path<String>) -> Result<Response, Problem> {
    let cache = &admin.library.cache;
    let named = admin.library.names().keys(&key).map_err(|detail| FieldError::new("path", detail))?;
    let variants = named.iter().find_map(|named| admin.library.held_under(&named.as_ref().as_ref()));
    let variants = variants.ok_or_else(|| Problem::not_found("the edge does not hold this object"))?;
    // Of several answers under one key, the first stands for them.
    let object = &variants.as_slice()[0];
    let (head, life) = (object.head(), object.head().life);
    let count = |held: &dyn Fn(u32) -> bool| object.reached_chunks().filter(|&chunk| held(chunk)).count();
    let answer = HeldObject {
        key: &key,
        bytes: object.size(),
        etag: head.etag().and_then(|etag| etag.to_str().ok()),
        chunks: object.reached_chunks().count(),
        chunks_in_memory: count(&|chunk| cache.memory.has(object.id, chunk)),
        chunks_on_disk: count(&|chunk| object.on_disk(chunk).is_some()),
        age_s: life.age_s(Timestamp::now()),
        fresh_until: Timestamp::from_millis(life.fresh_until),
        variants: variants.as_slice().len(),
    };
    let answer = Json(&answer).into_response();
    Ok(([("cache-control", "no-store")], answer).into_response())
}
