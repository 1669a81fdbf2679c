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
use crate::server::tcp::TcpNote;

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
    cmcd: Option<Arc<str>>,
    /// A [`Source`] and one, or 0 where nothing came from the cache.
    source: AtomicU8,
}

/// How a request came in: what a transcript begins with.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub begun: Instant,
    pub started_at: Timestamp,
    pub decision_id: Option<DecisionId>,
    pub head: bool,
    pub client: IpAddr,
    /// What the player said of itself; none too where no records are made.
    pub cmcd: Option<Arc<str>>,
}

impl Transcript {
    #[must_use]
    pub fn new(arrival: Arrival, subject: Subject, status: u16, range_start: u64) -> Arc<Self> {
        let Arrival { begun, started_at, decision_id, head, client, cmcd } = arrival;
        let source = AtomicU8::new(0);
        Arc::new(Self { begun, started_at, subject, decision_id, head, status, range_start, client, cmcd, source })
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

    /// The record of a response that is over.
    #[must_use]
    pub fn record(&self, sent: Sent, tcp: Option<TcpNote>, now: Instant) -> Record {
        let micros = |at: Instant| u64::try_from((at - self.begun).as_micros()).unwrap_or(u64::MAX);
        Record {
            subject: self.subject.clone(),
            decision_id: self.decision_id,
            head: self.head,
            status: self.status,
            cache_status: self.cache_status(),
            range_start: self.range_start,
            bytes_sent: sent.bytes,
            ttfb_us: micros(sent.first_byte.unwrap_or(now)),
            duration_us: micros(now),
            complete: sent.complete,
            started_at: self.started_at,
            client: self.client,
            cmcd: self.cmcd.clone(),
            tcp,
        }
    }
}

/// How much of a response's body reached the socket.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub bytes: u64,
    pub complete: bool,
    pub first_byte: Option<Instant>,
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

    /// Whether records are made at all.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.queue.is_some()
    }

    pub fn push(&self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.try_send(record).is_err()
        {
            self.metrics.deliveries_lost.increment(1);
        }
    }
}
