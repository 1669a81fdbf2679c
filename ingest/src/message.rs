//! What Kafka gets for one element. Its bytes are written when its number is known, into a buffer that the next one uses
//! again: whatever may refuse an element has done so by then.

use serde::Serialize;
use service::journal::record;
use uuid::Uuid;
use wire::event::{Envelope, NUMBER_BYTES, Verbatim};

use crate::accept::Refusal;
use crate::privacy::Listener;
use crate::producer::{ENVELOPE_BYTES, MESSAGE_BYTES};

/// What most payloads fit into with their numbers: a buffer that begins small is copied until it is as large.
pub(crate) const USUAL_BYTES: usize = 1024;

pub(crate) trait Message {
    /// For the client, should Kafka refuse.
    fn id(&self) -> Uuid;

    /// Elements of one key stay in order.
    fn key(&self) -> &str;

    /// Bytes of the payload with its number, at most.
    fn most(&self) -> usize;

    /// Appends the payload with its number; 0 is none.
    fn write(&self, number: u64, payload: &mut Vec<u8>);

    /// What it takes as a record of the spool, at most.
    fn room(&self) -> usize {
        record::OVERHEAD + self.key().len() + self.most()
    }

    /// # Errors
    /// 413 when Kafka would not take it.
    fn fits(&self) -> Result<(), Refusal> {
        let bytes = self.key().len() + self.most() + ENVELOPE_BYTES;
        if bytes <= MESSAGE_BYTES {
            return Ok(());
        }
        Err(Refusal::too_large(self.id(), bytes, MESSAGE_BYTES))
    }
}

/// A message whose payload is written but for its number.
#[derive(Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

impl Written {
    pub(crate) fn new(id: Uuid, key: impl Into<String>, payload: &impl Serialize) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut bytes, payload).expect("wire payloads are structs of texts, numbers and lists");
        Self { id, key: key.into(), payload: bytes }
    }
}

impl Message for Written {
    fn id(&self) -> Uuid {
        self.id
    }

    fn key(&self) -> &str {
        &self.key
    }

    fn most(&self) -> usize {
        self.payload.len() + NUMBER_BYTES
    }

    fn write(&self, number: u64, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.payload);
        if number != 0 {
            wire::event::number(payload, number);
        }
    }
}

/// An event that lies in the body of its request, to be copied from there.
#[derive(Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) id: Uuid,
    pub(crate) session_id: &'a str,
    pub(crate) posted: Verbatim<'a>,
    pub(crate) listener: Listener,
    /// Without its number.
    pub(crate) envelope: Envelope<'a>,
}

impl Message for Copied<'_> {
    fn id(&self) -> Uuid {
        self.id
    }

    fn key(&self) -> &str {
        self.session_id
    }

    fn most(&self) -> usize {
        let ids = [self.listener.user_id(), self.listener.anon_id()];
        let ids = ids.into_iter().flatten().map(str::len).sum::<usize>();
        self.posted.length() + ids + self.envelope.most()
    }

    fn write(&self, number: u64, payload: &mut Vec<u8>) {
        let (user_id, anon_id) = (self.listener.user_id(), self.listener.anon_id());
        let envelope = Envelope { ingest_seq: number, ..self.envelope };
        envelope.write(payload, |payload| self.posted.write(user_id, anon_id, payload));
    }
}

/// An event, however it came.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are copied, and a box for each is what copying saves")]
pub(crate) enum EventMessage<'a> {
    Copied(Copied<'a>),
    Written(Written),
}

impl Message for EventMessage<'_> {
    fn id(&self) -> Uuid {
        match self {
            Self::Copied(copied) => copied.id(),
            Self::Written(written) => written.id(),
        }
    }

    fn key(&self) -> &str {
        match self {
            Self::Copied(copied) => copied.key(),
            Self::Written(written) => written.key(),
        }
    }

    fn most(&self) -> usize {
        match self {
            Self::Copied(copied) => copied.most(),
            Self::Written(written) => written.most(),
        }
    }

    fn write(&self, number: u64, payload: &mut Vec<u8>) {
        match self {
            Self::Copied(copied) => copied.write(number, payload),
            Self::Written(written) => written.write(number, payload),
        }
    }
}
