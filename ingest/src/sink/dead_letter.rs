//! Messages that are no row of their table: set aside, so that their neighbours can go on.

use uuid::Uuid;
use wire::{FieldError, Timestamp};

use super::rowbinary::Row;
use super::rows::Incoming;

/// One of them, byte for byte as Kafka had it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeadLetter {
    pub(super) offset: i64,
    pub(super) received_at: Timestamp,
    pub(super) key: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) reason: String,
    /// Of what could be read.
    id: Option<Uuid>,
}

/// Who could not do anything with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The sink: it is no payload of its topic.
    Unreadable,
    /// ClickHouse: it does not take the row.
    Refused,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }
}

pub(super) const INSERT: &str = "INSERT INTO dead_letter \
    (topic, _partition, _offset, received_at, kind, reason, id, key, payload) FORMAT RowBinary";

impl DeadLetter {
    pub(super) fn unreadable(message: &Incoming<'_>, error: &FieldError) -> Self {
        Self::of(message, Kind::Unreadable, None, error.to_string())
    }

    pub(super) fn refused(message: &Incoming<'_>, id: Option<Uuid>, reason: &str) -> Self {
        Self::of(message, Kind::Refused, id, reason.to_owned())
    }

    fn of(message: &Incoming<'_>, kind: Kind, id: Option<Uuid>, reason: String) -> Self {
        let (key, payload) = (message.key.to_vec(), message.payload.to_vec());
        Self { offset: message.offset, received_at: message.received_at, key, payload, kind, reason, id }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.payload.len() + self.reason.len()
    }
}

pub(super) fn rows(letters: &[DeadLetter], topic: &str, partition: i32) -> Vec<u8> {
    let mut rows = Vec::new();
    for letter in letters {
        let mut row = Row(&mut rows);
        row.text(topic).u32(partition.unsigned_abs()).u64(letter.offset.unsigned_abs()).time(letter.received_at);
        row.text(letter.kind.as_str()).text(&letter.reason).nullable(letter.id, Row::uuid);
        row.bytes(&letter.key).bytes(&letter.payload);
    }
    rows
}
