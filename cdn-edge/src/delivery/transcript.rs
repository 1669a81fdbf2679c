//! What is noted of a response while it goes out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::mpsc;
use uuid::Uuid;
use wire::delivery::CacheStatus;
use wire::{ClientNet, DecisionId, Timestamp};

use super::notes::{Note, Notes};
use super::{Progress, Record, Subject, Told};
use crate::metrics::Metrics;
use crate::reader::Source;
use crate::server::tcp::TcpNote;

/// Set up with the head, finished by the socket: see [`crate::server::meter`].
#[derive(Debug)]
pub struct Transcript {
    /// Of all that is told of the answer, however often; none until it is told.
    id: OnceLock<Uuid>,
    pub begun: Instant,
    started_at: Timestamp,
    subject: Subject,
    decision_id: Option<DecisionId>,
    head: bool,
    status: u16,
    range_start: u64,
    client: IpAddr,
    cmcd: Option<Arc<str>>,
    /// A [`Source`] and one, or 0 where nothing came from the cache.
    source: AtomicU8,
    /// None until its bytes are about to go out, and where there is no place for it.
    note: OnceLock<Note>,
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
        Arc::new(Self {
            id: OnceLock::new(),
            begun,
            started_at,
            subject,
            decision_id,
            head,
            status,
            range_start,
            client,
            cmcd,
            source: AtomicU8::new(0),
            note: OnceLock::new(),
        })
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

    /// Says where a kill does not reach what a write that begins now will have sent, and whether that is all; of one that
    /// was not taken, nothing.
    pub fn intend(&self, bytes_sent: u64, is_all: bool) {
        if let Some(note) = self.note.get() {
            note.intend(bytes_sent, is_all);
        }
    }

    /// Says where a kill does not reach how far the answer has come.
    pub fn sent(&self, sent: Sent, now: Instant) {
        if let Some(note) = self.note.get() {
            note.progress(&self.progress(sent, None, now));
        }
    }

    /// The record of a response that is over.
    #[must_use]
    pub fn record(self: &Arc<Self>, sent: Sent, tcp: Option<TcpNote>, now: Instant) -> Record {
        let progress = self.progress(sent, tcp, now);
        if let Some(note) = self.note.get() {
            note.progress(&progress);
        }
        Record { transcript: self.clone(), progress }
    }

    fn progress(&self, sent: Sent, tcp: Option<TcpNote>, now: Instant) -> Progress {
        let micros = |at: Instant| u64::try_from((at - self.begun).as_micros()).unwrap_or(u64::MAX);
        Progress {
            bytes_sent: sent.bytes,
            ttfb_us: micros(sent.first_byte.unwrap_or(now)),
            duration_us: micros(now),
            cache_status: self.cache_status(),
            complete: sent.complete,
            tcp,
        }
    }

    pub(super) fn told(&self, progress: Progress) -> Told<'_> {
        let (key, object_bytes) = match &self.subject {
            Subject::Object(object) => (object.key(), object.size()),
            Subject::Key(key) => (key.as_ref().as_ref(), None),
        };
        Told {
            id: *self.id.get_or_init(|| id(self.started_at)),
            key,
            object_bytes,
            decision_id: self.decision_id,
            head: self.head,
            status: self.status,
            range_start: self.range_start,
            started_at: self.started_at,
            client: ClientNet::of(self.client),
            cmcd: self.cmcd.as_deref(),
            progress,
        }
    }
}

/// Time-ordered as `Uuid::now_v7` is, without its lock and its question to the system's clock.
fn id(started_at: Timestamp) -> Uuid {
    let ms = u64::try_from(started_at.as_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &rand::random()).into_uuid()
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
    /// None where there is no disk for them.
    notes: Option<Arc<Notes>>,
    metrics: Arc<Metrics>,
}

impl Deliveries {
    /// Without a queue, where there is no ingest, records are dropped: nobody wants them.
    #[must_use]
    pub fn new(queue: Option<mpsc::Sender<Record>>, notes: Option<Arc<Notes>>, metrics: Arc<Metrics>) -> Self {
        Self { queue, notes, metrics }
    }

    /// An answer is about to go out: from here on a kill does not lose it.
    pub fn note(&self, transcript: &Transcript) {
        let nothing = Sent { bytes: 0, complete: false, first_byte: None };
        if let Some(notes) = &self.notes
            && let Some(note) = notes.note(&transcript.told(transcript.progress(nothing, None, Instant::now())))
        {
            // It goes out once.
            let _ = transcript.note.set(note);
        }
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
