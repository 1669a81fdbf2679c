//! What is noted of a response while it goes out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::mpsc;
use wire::delivery::CacheStatus;
use wire::{DecisionId, Timestamp};

use super::{Record, Subject};
use crate::metrics::Metrics;
use crate::reader::Source;

/// Set up with the head, finished by the socket: see [`crate::server::meter`].
#[derive(Debug)]
pub struct Transcript {
    pub begun: Instant,
    pub started_at: Timestamp,
    pub subject: Subject,
    pub decision_id: Option<DecisionId>,
    pub head: bool,
    pub status: u16,
    pub range_start: u64,
    pub client: IpAddr,
    /// A [`Source`] and one, or 0 where nothing came from the cache.
    source: AtomicU8,
}

/// How a request came in: what a transcript begins with.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub begun: Instant,
    pub started_at: Timestamp,
    pub decision_id: Option<DecisionId>,
    pub head: bool,
    pub client: IpAddr,
}

impl Transcript {
    #[must_use]
    pub fn new(arrival: Arrival, subject: Subject, status: u16, range_start: u64) -> Arc<Self> {
        let Arrival { begun, started_at, decision_id, head, client } = arrival;
        let source = AtomicU8::new(0);
        Arc::new(Self { begun, started_at, subject, decision_id, head, status, range_start, client, source })
    }

    /// Notes where bytes came from; the furthest place counts.
    pub fn saw(&self, source: Source) {
        self.source.fetch_max(source as u8 + 1, Relaxed);
    }

    #[must_use]
    pub fn cache_status(&self) -> CacheStatus {
        let sources = [Source::Memory, Source::Disk, Source::Joined, Source::Filled];
        let seen = usize::from(self.source.load(Relaxed)).checked_sub(1);
        seen.map_or(CacheStatus::None, |at| sources[at].cache_status())
    }

    /// The record of a response of which `bytes_sent` reached the socket.
    #[must_use]
    pub fn record(&self, bytes_sent: u64, complete: bool, first_byte: Option<Instant>, now: Instant) -> Record {
        let micros = |at: Instant| u64::try_from((at - self.begun).as_micros()).unwrap_or(u64::MAX);
        Record {
            subject: self.subject.clone(),
            decision_id: self.decision_id,
            head: self.head,
            status: self.status,
            cache_status: self.cache_status(),
            range_start: self.range_start,
            bytes_sent,
            ttfb_us: micros(first_byte.unwrap_or(now)),
            duration_us: micros(now),
            complete,
            started_at: self.started_at,
            client: self.client,
        }
    }
}

/// Where records go from the serving threads.
#[derive(Debug, Clone)]
pub struct Deliveries {
    queue: Option<mpsc::Sender<Record>>,
    metrics: Arc<Metrics>,
}

impl Deliveries {
    /// Without a queue, where there is no ingest, records are dropped: nobody wants them.
    #[must_use]
    pub fn new(queue: Option<mpsc::Sender<Record>>, metrics: Arc<Metrics>) -> Self {
        Self { queue, metrics }
    }

    pub fn push(&self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.try_send(record).is_err()
        {
            self.metrics.deliveries_lost.increment(1);
        }
    }
}
