//! What an ingest process says of its own count, so that a hole in the numbers can be told from a number
//! that nobody was promised.
//!
//! [`crate::event::AcceptedEvent::ingest_seq`] counts from 1 per process. A process says a tally at its
//! start, each second in which something changed, and at its end; it goes to Kafka as events do, by the
//! spool where Kafka is away. Of one process, the tally with the latest `at` speaks. What it proves:
//!
//! - Every number up to `settled` was acknowledged by Kafka or synced to the spool, or stands in `voids` of
//!   this tally or an earlier one. A void was refused with 503 because both had failed; its event may be there
//!   all the same, where Kafka had it and could not say so.
//! - So a number up to `settled` that is neither in the raw table, nor among the repeats, the dead letters or
//!   the voids, **is a loss**, unless it still waits in a spool: the latest tally with the same `spool_id`, of
//!   whichever process, says by `waiting` whether anything does. Where that is above 0 and no process
//!   runs on that spool, the events lie on that machine's disk.
//! - Numbers above `settled` were on their way when the tally was made. Where `ended`, there are none. Where a
//!   process was killed, those that are missing were refused, never answered, or accepted within its last second:
//!   nothing of the server's tells which, so an audit names them as unproven and not as lost.
//! - An event was in Kafka before the tally that settled it was made. So who compares a tally with ClickHouse
//!   waits until the sink has committed the offsets that Kafka had handed out when the tally was read.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// As Kafka's `tonearm.tallies.v1` carries it, keyed by the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub tally_id: Uuid,
    /// The ingest process, as in its events.
    pub ingest_id: String,
    /// The folder in which this process and those before it keep what Kafka does not have yet. Nil while there is none.
    pub spool_id: Uuid,
    pub at: Timestamp,
    /// The highest number given.
    pub given: u64,
    /// Every number up to this one is kept or void.
    pub settled: u64,
    /// Numbers whose events were refused after all.
    pub voids: Vec<Numbers>,
    /// Records in the spool that Kafka has not acknowledged, of this process and of earlier ones.
    pub waiting: u64,
    /// The process has stopped in order; no other tally of it follows.
    pub ended: bool,
}

/// A range of numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub first: u64,
    pub last: u64,
}
