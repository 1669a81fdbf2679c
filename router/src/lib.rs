//! The router: which edge each listener streams from, and why.
//!
//! One request, `GET /v1/route?track=`: the listener's address is cut to its network
//! ([`listeners`]), the track is found in the snapshot that [`snapshot`] keeps of PostgreSQL's [`fleet`]
//! and [`tracks`], [`decide`] makes a view of it with what each edge's [`signals`] say (its load reports,
//! what [`probe`] measured) and what listeners of that network measured, the [`policy`] ranks it, and the
//! decision goes to the player, to memory ([`recent`]), and by [`log`] to Kafka, from where ClickHouse
//! gets it and [`explain`] takes it back.
//!
//! Promised: without PostgreSQL the last good snapshot serves, across restarts too; without Kafka or
//! ClickHouse decisions are answered all the same; what of this is so stands in `/health/detailed`. Every
//! decision holds what the policy read. An edge that is down, silent, draining or over its load gets no
//! new listeners, but where all are over their load the least loaded do.
//!
//! Not promised: that every decision is logged (a full queue drops, counted), that it is logged once (the
//! decision's id tells), that two routers agree at the same moment.

mod config;
mod decide;
mod explain;
mod fleet;
mod http;
mod listeners;
mod log;
mod meters;
pub mod policy;
pub mod probe;
mod recent;
mod signals;
mod snapshot;
mod start;
mod tracks;
mod watch;

pub use config::{Config, RouterConfig};
pub use start::start;

/// The listener's API, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../openapi.json");
