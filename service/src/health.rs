//! Health: is the process ready, and what of what it stands on is away.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::Timestamp;

use crate::problem::fresh_json;

/// How one component stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "reason", rename_all = "snake_case")]
pub enum Status {
    Ok,
    /// The role serves on without it, less well: the reason says how.
    Degraded(String),
    /// The role cannot serve: `GET /health` is 503.
    Down(String),
}

#[derive(Debug, Clone, Serialize)]
struct Component {
    #[serde(flatten)]
    status: Status,
    since: Timestamp,
}

/// The state of one process, shared by whoever learns of a change.
#[derive(Debug, Clone)]
pub struct Health {
    role: &'static str,
    started_at: Timestamp,
    components: Arc<RwLock<BTreeMap<&'static str, Component>>>,
}

#[derive(Serialize)]
struct Detailed {
    role: &'static str,
    version: &'static str,
    status: &'static str,
    started_at: Timestamp,
    components: BTreeMap<&'static str, Component>,
}

impl Health {
    /// A process that is starting: down until its components say otherwise.
    #[must_use]
    pub fn new(role: &'static str) -> Self {
        let health = Self { role, started_at: Timestamp::now(), components: Arc::default() };
        health.set("process", Status::Down("starting".into()));
        health
    }

    /// The start is complete.
    pub fn ready(&self) {
        self.set("process", Status::Ok);
    }

    /// The stop has begun: load balancers should look elsewhere.
    pub fn draining(&self) {
        self.set("process", Status::Down("draining".into()));
    }

    /// Tells how a component stands; a change is logged, a repetition is not.
    pub fn set(&self, component: &'static str, status: Status) {
        let mut components = self.components.write().unwrap_or_else(PoisonError::into_inner);
        if components.get(component).is_some_and(|known| known.status == status) {
            return;
        }
        match &status {
            Status::Ok => tracing::info!(component, "ok"),
            Status::Degraded(reason) => tracing::warn!(component, reason, "degraded"),
            Status::Down(reason) => tracing::warn!(component, reason, "down"),
        }
        components.insert(component, Component { status, since: Timestamp::now() });
    }

    /// Whether the process should get requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let components = self.components.read().unwrap_or_else(PoisonError::into_inner);
        !components.values().any(|c| matches!(c.status, Status::Down(_)))
    }

    fn detailed(&self) -> Detailed {
        let components = self.components.read().unwrap_or_else(PoisonError::into_inner).clone();
        let any = |wanted: fn(&Status) -> bool| components.values().any(|c| wanted(&c.status));
        let status = if any(|s| matches!(s, Status::Down(_))) {
            "down"
        } else if any(|s| matches!(s, Status::Degraded(_))) {
            "degraded"
        } else {
            "ok"
        };
        let version = env!("CARGO_PKG_VERSION");
        Detailed { role: self.role, version, status, started_at: self.started_at, components }
    }

    fn code(&self) -> StatusCode {
        if self.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }

    /// Answer of `GET /health`.
    #[must_use]
    pub fn brief_response(&self) -> Response {
        (self.code(), fresh_json(serde_json::json!({ "status": self.detailed().status }))).into_response()
    }

    /// Answer of `GET /health/detailed`.
    #[must_use]
    pub fn detailed_response(&self) -> Response {
        (self.code(), fresh_json(self.detailed())).into_response()
    }
}
