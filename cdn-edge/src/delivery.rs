//! Deliveries: one record a response, kept on disk and brought to ingest in batches.
//!
//! A [`Transcript`] has its id from the start and is written while a response goes out, in part where a kill does not
//! reach ([`notes`]); when its last byte is with the socket, or the client has left, it becomes a [`Record`] in a queue of
//! at most [`QUEUE`] records. The [`keeper`] writes it to the spool, and what an earlier process left in its notes; the
//! [`sender`] reads the spool and moves on once ingest has every record of a batch, so a batch that is sent again after an
//! ambiguous failure, or by the next process after a kill, comes under the same ids, by which the sink knows it.
//!
//! Lost are, each counted but for the first: with the machine's power what was not on disk, some 10 ms and what was
//! under way, and with a kill the few answers that [`notes`] cannot note; records beyond the spool's bound (ingest away for
//! long: health says so); and, with a disk that takes nothing, those that meet a full queue or wait in memory at a kill.

pub mod cmcd;
pub mod keeper;
pub mod notes;
pub mod sender;
pub mod transcript;

use std::sync::Arc;

use uuid::Uuid;
use wire::delivery::{CacheStatus, Delivery};
use wire::{ClientNet, DecisionId, EdgeId, PopId, Timestamp};

use crate::key::{CacheKey, KeyRef};
use crate::object::Object;
use crate::server::tcp::TcpNote;
use transcript::Transcript;

/// Records that wait for the disk: about 20 MB.
pub const QUEUE: usize = 100_000;

/// What a record is about: an object, or a key under which there was none.
#[derive(Debug, Clone)]
pub enum Subject {
    Object(Arc<Object>),
    Key(Arc<CacheKey>),
}

/// An answer that is over, as the serving thread leaves it: no text is made there.
#[derive(Debug)]
pub struct Record {
    pub transcript: Arc<Transcript>,
    pub progress: Progress,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub bytes_sent: u64,
    pub ttfb_us: u64,
    pub duration_us: u64,
    pub cache_status: CacheStatus,
    pub complete: bool,
    pub tcp: Option<TcpNote>,
}

/// All that is told of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    pub id: Uuid,
    pub key: KeyRef<'a>,
    pub object_bytes: Option<u64>,
    pub decision_id: Option<DecisionId>,
    pub head: bool,
    pub status: u16,
    pub range_start: u64,
    pub started_at: Timestamp,
    pub client: ClientNet,
    /// What the player said with the request, as it came.
    pub cmcd: Option<&'a str>,
    pub progress: Progress,
}

impl Record {
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        self.transcript.told(self.progress)
    }
}

impl Told<'_> {
    /// The payload; none where what was asked for has no object's name.
    #[must_use]
    pub fn into_delivery(self, edge: &EdgeId, pop: &PopId) -> Option<Delivery> {
        let Progress { bytes_sent, ttfb_us, duration_us, cache_status, complete, tcp } = self.progress;
        Some(Delivery {
            delivery_id: self.id,
            decision_id: self.decision_id,
            edge_id: edge.clone(),
            pop: pop.clone(),
            key: self.key.object_key()?,
            method: if self.head { "HEAD" } else { "GET" }.into(),
            status: self.status,
            cache_status,
            range_start: self.range_start,
            bytes_sent,
            object_bytes: self.object_bytes,
            ttfb_us,
            duration_us,
            complete,
            started_at: self.started_at,
            client_net: self.client.to_string(),
            tcp_rtt_us: tcp.map(|tcp| tcp.rtt_us),
            tcp_retransmits: tcp.map(|tcp| tcp.retransmits),
            cmcd: self.cmcd.map(cmcd::keys).unwrap_or_default(),
        })
    }
}
