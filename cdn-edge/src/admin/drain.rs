//! `POST /v1/drain` and `/v1/undrain`: an edge that serves those it has and asks for no new ones.
//!
//! `/health` is then 503, for load balancers, and load reports say so, for routers. It lasts until it is
//! taken back or the edge starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use service::Health;
use service::health::Status;
use service::problem::fresh_json;

use super::Admin;

/// Whether an operator has drained the edge.
#[derive(Debug, Clone)]
pub struct Drain {
    on: Arc<AtomicBool>,
    health: Health,
}

impl Drain {
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self { on: Arc::default(), health }
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    fn set(&self, on: bool) {
        self.on.store(on, Relaxed);
        self.health.set("drain", if on { Status::Down("drained by an operator".into()) } else { Status::Ok });
    }
}

#[derive(Serialize)]
struct Drained {
    draining: bool,
}

pub(super) async fn drain(State(admin): State<Admin>) -> Response {
    admin.drain.set(true);
    fresh_json(Drained { draining: true })
}

pub(super) async fn undrain(State(admin): State<Admin>) -> Response {
    admin.drain.set(false);
    fresh_json(Drained { draining: false })
}
