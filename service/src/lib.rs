//! What every process of Tonearm stands on, and nothing that knows what it is for.
//!
//! A role starts in this order: [`config`] is read once, [`telemetry`] and [`metrics`] begin, clients
//! are made ([`kafka`], [`clickhouse`], [`postgres`], [`client`]), [`http`] serves with [`limits`],
//! [`address`], [`auth`], [`health`] and [`problem`] answers, retries wait by [`backoff`], a [`journal`] keeps
//! on disk what nobody else has yet, and [`shutdown`] drains
//! it all under a deadline.
//!
//! Promised: bad configuration is reported whole, before anything starts; every request has a size and
//! a time limit; a stop lets running requests finish until the deadline and then ends them. Not
//! promised: durability beyond the journal, which belongs to the roles.

pub mod address;
pub mod auth;
pub mod backoff;
pub mod clickhouse;
pub mod client;
pub mod config;
pub mod files;
pub mod health;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod limits;
pub mod metrics;
pub mod postgres;
pub mod problem;
pub mod running;
pub mod shutdown;
pub mod telemetry;
pub mod url_keys;

pub use health::Health;
pub use problem::Problem;
pub use running::{Running, Starting};
pub use shutdown::Shutdown;
