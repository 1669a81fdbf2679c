//! The operators' listener: warm, purge, what is held.

pub mod drain;
mod objects;
mod warm;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use service::auth::{AdminToken, require_admin};
use service::config::HttpConfig;
use service::limits::whole_body;
use service::problem::fresh_json;
use service::{Health, Problem, limits};
use tokio::sync::Semaphore;

use drain::Drain;

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
    drain: Drain,
}

#[derive(Debug, Serialize)]
struct PurgeAnswer {
    /// How many of the keys were held. What prefixes and tags mean is not counted.
    purged: usize,
    /// Counts purges: an answer that was asked for after it is not concerned.
    purge: u64,
}

/// All routes of the operators' listener.
pub fn routes(
    library: Arc<Library>,
    jobs: Arc<Jobs>,
    drain: Drain,
    warm_concurrency: usize,
    token: AdminToken,
    health: &Health,
    http: &HttpConfig,
) -> Router {
    let warm_orders = Arc::new(Semaphore::new(WARM_ORDERS));
    let admin = Admin { library, warm_concurrency, warm_orders, jobs, drain };
    let operators = Router::new()
        .route("/v1/warm", post(warm::order).get(warm::list))
        .route("/v1/warm/{id}", get(warm::progress).delete(warm::cancel))
        .route("/v1/purge", post(purge))
        .route("/v1/objects/{*key}", get(objects::held))
        .route("/v1/drain", post(drain::drain))
        .route("/v1/undrain", post(drain::undrain))
        .route_layer(middleware::from_fn_with_state(token, require_admin))
        .with_state(admin);
    limits::complete(operators, crate::OPENAPI, health, http)
}

async fn purge(State(admin): State<Admin>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let (order, targets) = read_order(&whole_body(body)?, admin.library.names())?;
    match admin.library.purge(&order, targets).await {
        Ok(Purged { purge, held }) => Ok(fresh_json(PurgeAnswer { purged: held, purge })),
        Err(error) => Err(Problem::unavailable(error.to_string(), 1)),
    }
}
