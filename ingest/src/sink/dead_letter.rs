//! Messages that are no row of their table: set aside, so that their neighbours can go on.

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
    pub(super) reason: String,
}

pub(super) const INSERT: &str = "INSERT INTO dead_letter \
    (topic, _partition, _offset, received_at, reason, key, payload) FORMAT RowBinary";

impl DeadLetter {
    pub(super) fn of(message: &Incoming<'_>, error: &FieldError) -> Self {
        Self {
            offset: message.offset,
            received_at: message.received_at,
            key: message.key.to_vec(),
            payload: message.payload.to_vec(),
            reason: error.to_string(),
        }
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
        row.text(&letter.reason).bytes(&letter.key).bytes(&letter.payload);
    }
    rows
}
