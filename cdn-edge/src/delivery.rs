//! Deliveries: one record a response, kept on disk and brought to ingest in batches.
//!
//! A [`transcript::Transcript`] is written while a response goes out; when its last byte is with the
//! socket, or the client has left, it becomes a [`Record`] in a queue of at most [`QUEUE`] records. The
//! [`keeper`] gives it its id, once, and writes it to the spool; the [`sender`] reads the spool and moves on
//! once ingest has every record of a batch, so a batch that is sent again after an ambiguous failure, or by
//! the next process after a kill, comes under the same ids, by which the sink knows it.
//!
//! Lost are, each counted but for the first: records of the last 10 ms or so before a kill, and of answers
//! that were under way then; records beyond the spool's bound (ingest away for long: health says so); and,
//! with a disk that takes nothing, those that meet a full queue.

pub mod cmcd;
pub mod keeper;
pub mod sender;
pub mod transcript;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;
use wire::delivery::{CacheStatus, Delivery};
use wire::{ClientNet, DecisionId, EdgeId, PopId, Timestamp};

use crate::key::CacheKey;
use crate::object::Object;
use crate::server::tcp::TcpNote;

/// Records that wait for the disk: about 20 MB.
pub const QUEUE: usize = 100_000;

/// What a record is about: an object, or a key under which there was none.
#[derive(Debug, Clone)]
pub enum Subject {
    Object(Arc<Object>),
    Key(Arc<CacheKey>),
}

/// A delivery as the serving thread leaves it: no text is made there.
#[derive(Debug)]
pub struct Record {
    pub subject: Subject,
    pub decision_id: Option<DecisionId>,
    pub head: bool,
    pub status: u16,
    pub cache_status: CacheStatus,
    pub range_start: u64,
    pub bytes_sent: u64,
    pub ttfb_us: u64,
    pub duration_us: u64,
    pub complete: bool,
    pub started_at: Timestamp,
    pub client: IpAddr,
    /// What the player said with the request, as it came.
    pub cmcd: Option<Arc<str>>,
    pub tcp: Option<TcpNote>,
}

impl Record {
    /// The payload, with an id of its own; none where what was asked for has no object's name.
    #[must_use]
    pub fn into_delivery(self, edge: &EdgeId, pop: &PopId) -> Option<Delivery> {
        let (key, object_bytes) = match &self.subject {
            Subject::Object(object) => (object.key(), object.size()),
            Subject::Key(key) => (key.as_ref().as_ref(), None),
        };
        let key = key.object_key()?;
        Some(Delivery {
            delivery_id: Uuid::now_v7(),
            decision_id: self.decision_id,
            edge_id: edge.clone(),
            pop: pop.clone(),
            key,
            method: if self.head { "HEAD" } else { "GET" }.into(),
            status: self.status,
            cache_status: self.cache_status,
            range_start: self.range_start,
            bytes_sent: self.bytes_sent,
            object_bytes,
            ttfb_us: self.ttfb_us,
            duration_us: self.duration_us,
            complete: self.complete,
            started_at: self.started_at,
            client_net: ClientNet::of(self.client).to_string(),
            tcp_rtt_us: self.tcp.map(|tcp| tcp.rtt_us),
            tcp_retransmits: self.tcp.map(|tcp| tcp.retransmits),
            cmcd: self.cmcd.as_deref().map(cmcd::keys).unwrap_or_default(),
        })
    }
}
