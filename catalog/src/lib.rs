//! The catalog: tracks, and what brings each to the edges before anyone asks.
//!
//! A release, in the order the modules are read: [`tracks`] takes the request, [`spec`] reads what the
//! track is made of, [`life`] says whether the step can follow, [`track_store`] commits the change and
//! its event together, [`outbox`] brings the event to Kafka, [`rollout`] reads it there, writes one
//! order an edge, and has [`edge_client`] give them; the last one done marks the track live, and
//! routers send listeners to it.
//!
//! Promised: a change and its event stand or fall together; every event reaches Kafka at least once,
//! with the same `event_id`, and a track's events in the order of its changes, however many relays run;
//! a version goes live once every edge of its POPs is warm, or at the deadline without those that are
//! not, their errors kept; a catalog that dies at any point goes on where it was. Without Kafka changes
//! are accepted and wait; without PostgreSQL requests get 503 and the catalog waits for it.
//!
//! Not promised: a published version whose specification is replaced is played as replaced at once,
//! cold, until it is published again and that has rolled out; a purge is tried until
//! the rollout's deadline and then given up, and of two catalogs side by side one may purge an edge while
//! the other's last order still warms it. Whether an edge's copy is byte for byte the origin's is the
//! edge's affair.

pub mod config;
mod edge_client;
pub mod life;
mod metrics;
mod outbox;
mod rollout;
mod server;
mod spec;
mod stored;
mod track_store;
mod tracks;
mod watch;

pub use config::Config;
pub use server::start;

/// What the listener serves at `/openapi.json`.
pub const OPENAPI: &str = include_str!("../openapi.json");
