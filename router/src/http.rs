//! The listener's routes: what players ask, and what operators and edges tell.

mod measurements;
pub(crate) mod media_url;
mod operators;
mod players;
mod pops;
mod reports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware;
use axum::routing::{get, post, put};
use service::Problem;
use service::address::AddressRule;
use service::auth::{AdminToken, require_admin};
use sqlx::PgPool;
use tower_http::cors::{Any, CorsLayer};
use wire::{EdgeId, FieldError};

use crate::decide::Decider;
use crate::explain::Archive;
use crate::listeners::Estimates;
use crate::log::DecisionLog;
use crate::recent::Recent;
use crate::snapshot::{Refresher, Snapshots};
use crate::tracks::Missing;

/// Reports and measurements are a few hundred bytes each, an edge's registration likewise.
const MAX_BODY: usize = 64 << 10;

/// What handlers work on.
pub(crate) struct App {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) refresher: Arc<Refresher>,
    pub(crate) pool: PgPool,
    pub(crate) missing: Missing,
    pub(crate) decider: Decider,
    pub(crate) estimates: Arc<Estimates>,
    pub(crate) recent: Recent,
    pub(crate) log: DecisionLog,
    pub(crate) archive: Archive,
    pub(crate) addresses: AddressRule,
    pub(crate) report_max_age: Duration,
    pub(crate) counts: players::Counts,
    /// None where media URLs are not signed.
    pub(crate) signer: Option<media_url::Signer>,
}

pub(crate) use players::Counts;

pub(crate) fn routes(app: Arc<App>, admin: AdminToken) -> Router {
    let open = Router::new()
        .route("/v1/route", get(players::route).options(preflight))
        .route("/v1/play/{track}", get(players::play).options(preflight))
        .route("/v1/measurements", post(measurements::take).options(preflight))
        .layer(cors());
    let closed = Router::new()
        .route("/v1/decisions/{id}", get(operators::decision))
        .route("/v1/pops", get(pops::list))
        .route("/v1/fleet/reports", post(reports::take))
        .route("/v1/fleet/edges/{id}", put(operators::put_edge).delete(operators::delete_edge))
        .route("/v1/fleet/edges/{id}/drain", post(operators::drain))
        .route("/v1/fleet/edges/{id}/undrain", post(operators::undrain))
        .route_layer(middleware::from_fn_with_state(admin, require_admin));
    open.merge(closed).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(app)
}

/// Players run on any origin, and what they may read here is open to all.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
        .max_age(Duration::from_secs(3600))
}

/// Never reached: the CORS layer answers. Without it the layer would stand behind the 405 of all roles.
async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The listener behind a request.
fn listener_of(app: &App, peer: SocketAddr, headers: &HeaderMap) -> std::net::IpAddr {
    app.addresses.listener(peer.ip(), headers)
}

/// The one parameter of a path.
fn parameter<T>(name: &str, path: Result<Path<String>, PathRejection>) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let Path(text) = path.map_err(|_| FieldError::new(name, "must be UTF-8 once percent-decoded"))?;
    Ok(text.parse().map_err(|e: T::Err| FieldError::new(name, e.to_string()))?)
}

fn unknown_edge(id: &EdgeId) -> Problem {
    Problem::not_found(format!("there is no edge {id} in the fleet"))
}
