//! Messages whose id the partition has brought before: not stored again, but each told, so that every
//! offset of Kafka is accounted for.

use uuid::Uuid;
use wire::Timestamp;
use wire::event::AcceptedEvent;

use super::rowbinary::Row;
use super::rows::{Incoming, Table};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) offset: i64,
    pub(super) id: Uuid,
    received_at: Timestamp,
    /// The ingest process and its number: an event that was sent again was numbered again.
    numbered: Option<(String, u64)>,
}

pub(super) const INSERT: &str = "INSERT INTO repeats \
    (topic, _partition, _offset, id, received_at, ingest_id, ingest_seq) FORMAT RowBinary";

impl Repeat {
    pub(super) fn of(table: Table, message: &Incoming<'_>, id: Uuid) -> Self {
        // Read once more, which costs only those that are repeats.
        let event = (table == Table::Events).then(|| wire::field::parse::<AcceptedEvent>(message.payload).ok());
        let numbered = event.flatten().map(|event| (event.ingest_id, event.ingest_seq));
        Self { offset: message.offset, id, received_at: message.received_at, numbered }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.numbered.as_ref().map_or(0, |(process, _)| process.len())
    }
}

pub(super) fn rows(repeats: &[Repeat], topic: &str, partition: i32) -> Vec<u8> {
    let mut rows = Vec::new();
    for repeat in repeats {
        let (process, number) = repeat.numbered.as_ref().map_or(("", 0), |(process, number)| (process, *number));
        let mut row = Row(&mut rows);
        row.text(topic).u32(partition.unsigned_abs()).u64(repeat.offset.unsigned_abs());
        row.uuid(repeat.id).time(repeat.received_at).text(process).u64(number);
    }
    rows
}
