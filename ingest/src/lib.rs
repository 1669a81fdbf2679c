//! Ingestion: HTTP to Kafka ([`start`]), Kafka to ClickHouse ([`sink::start`]).
//!
//! The path of one event: [`server`] finds the app by its write key in [`keys`]; [`intake`] reads the body under its
//! bounds and has it inflated ([`inflate`]) where it is compressed; [`body`] cuts it into elements without looking into
//! them; [`formats`] reads each as an event, in whatever form [`players`] post it ([`listenbrainz`] has an API of its
//! own); [`accept`] adds what only the server knows ([`clock`]: when it happened,
//! [`geo`]: where it came from), without what must not be kept ([`privacy`]), or refuses it with the field's name;
//! [`publish`] gives the accepted ones to Kafka, waits for every acknowledgement and answers. Edges' [`deliveries`]
//! take the same road. Then the [`sink`] moves them into ClickHouse,
//! from where [`stats`] tells products what was heard.
//!
//! Promised: an element that was answered as accepted is in Kafka on all in-sync replicas; one
//! malformed element is refused alone, by its index; a refusal for Kafka's sake comes only after Kafka's
//! own deadline, so nothing arrives that will not arrive later still; bodies, elements and bytes in
//! flight are bounded, and reaching a bound is a 4xx or a 503. Each message of Kafka is in ClickHouse exactly
//! once, through crashes of the sink, of Kafka and of ClickHouse: as a row, as a repeat or as a dead letter.
//! Not promised: that an element refused with 503 is *not* in Kafka (its acknowledgement may have been
//! lost). A client sends again with the same `event_id`, and the sink stores it once, as far back as its
//! window reaches.

mod accept;
pub mod audit;
mod body;
mod clock;
mod config;
mod cors;
mod deliveries;
mod formats;
mod geo;
mod idempotency;
mod inflate;
mod intake;
mod kafka_watch;
pub mod keys;
mod listenbrainz;
mod metrics;
mod players;
pub mod privacy;
mod publish;
pub mod royalties;
mod server;
pub mod sink;
mod stats;

pub use config::{Config, IngestConfig};
pub use geo::GeoConfig;
pub use server::start;
pub use stats::StatsConfig;

/// The API of [`start`]'s listener.
pub const OPENAPI: &str = include_str!("../openapi.json");
