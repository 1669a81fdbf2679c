//! Ingestion: HTTP to Kafka ([`start`]), Kafka to ClickHouse ([`sink::start`]).
//!
//! The path of one event: [`server`] finds the app by its write key in [`keys`] ([`direct`] is the short way there);
//! [`intake`] reads the body under its bounds and has it inflated ([`inflate`]) where it is compressed; what is not
//! plain, [`body`] cuts into elements without looking into them; [`formats`] reads each as an event, in whatever form
//! [`players`] post it ([`listenbrainz`] has an API of its
//! own); [`accept`] adds what only the server knows ([`clock`]: when it happened,
//! [`geo`]: where it came from), without what must not be kept ([`privacy`]), or refuses it with the field's name;
//! [`publish`] numbers the accepted ones ([`ledger`]) and hands each as a [`message`] to the [`road`]: to Kafka ([`producer`]), or to
//! the [`spool`] on disk where that is away or does not acknowledge in time ([`kafka_watch`]). A [`batch`] is answered
//! once each of its elements is kept. What the spool holds follows when Kafka is back ([`replay`]), and [`tallies`] say
//! how far this process has counted. Edges' [`deliveries`] take the same road. Then the [`sink`] moves them into ClickHouse,
//! from where [`stats`] tells products what was heard.
//!
//! Promised: an element that was answered as accepted is in Kafka on all in-sync replicas, or synced to
//! this machine's disk, and sent to Kafka from there by this process or the next one; one malformed element
//! is refused alone, by its index; what is refused before it has a number never arrives; bodies, elements,
//! bytes in flight and the spool are bounded, and reaching a bound is a 4xx or a 503. Each message of Kafka is in
//! ClickHouse exactly once, through crashes of the sink, of Kafka and of ClickHouse: as a row, as a repeat or as a
//! dead letter.
//! Not promised: that an element which neither Kafka nor the disk could keep (503 after it had its number) is
//! *not* in Kafka, whose acknowledgement may have been lost. A client sends again with the same `event_id`,
//! and the sink stores it once, as far back as its window reaches. Nor that a disk which is lost with its machine gives back what
//! Kafka did not have yet.

mod accept;
pub mod audit;
mod batch;
mod body;
mod clock;
mod config;
mod cors;
mod deliveries;
mod direct;
pub mod dlq;
pub mod erase;
mod formats;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod geo;
mod idempotency;
mod inflate;
mod intake;
mod kafka_watch;
pub mod keys;
mod ledger;
mod listenbrainz;
mod materialized;
mod message;
mod metrics;
mod players;
pub mod privacy;
mod producer;
mod publish;
mod replay;
mod road;
pub mod royalties;
mod server;
pub mod sink;
mod spool;
mod stats;
mod tallies;

pub use config::{Config, IngestConfig};
pub use geo::GeoConfig;
pub use server::start;
pub use stats::StatsConfig;

/// The API of [`start`]'s listener.
pub const OPENAPI: &str = include_str!("../openapi.json");
