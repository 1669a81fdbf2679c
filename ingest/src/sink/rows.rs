//! From a Kafka message to a row: which table, which columns, in which order.

mod event;

use bytes::Bytes;
use uuid::Uuid;
use wire::decision::{Candidate, Decision, Excluded, RttSource, Via};
use wire::delivery::Delivery;
use wire::event::{AcceptedEvent, AcceptedRef};
use wire::tally::Tally;
use wire::topic::Topic;
use wire::{FieldError, Timestamp};

use super::native;
use super::rowbinary::Row;

/// A message as Kafka has it.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub partition: i32,
    pub offset: i64,
    /// When it was handed to Kafka.
    pub received_at: Timestamp,
    pub key: &'a [u8],
    pub payload: &'a [u8],
    /// It is a dead letter that an operator has sent again.
    pub is_sent_again: bool,
}

/// A table that a topic goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    Events,
    Deliveries,
    Decisions,
    Tallies,
}

impl Table {
    pub(super) const ALL: [Self; 4] = [Self::Events, Self::Deliveries, Self::Decisions, Self::Tallies];

    pub(super) fn topic(self) -> Topic {
        match self {
            Self::Events => Topic::Listens,
            Self::Deliveries => Topic::Deliveries,
            Self::Decisions => Topic::Decisions,
            Self::Tallies => Topic::Tallies,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::Decisions => "decisions",
            Self::Tallies => "tallies",
        }
    }

    /// The statement whose columns stand in the order that [`Table::append`] writes them.
    #[must_use]
    pub fn insert(self) -> String {
        self.statement(self.name(), "RowBinary")
    }

    /// The statement that the sink makes of `count` such rows, and what it sends with it: those of events as columns.
    #[must_use]
    pub fn insert_of(self, rows: Bytes, count: usize) -> (String, Bytes) {
        self.insert_into(self.name(), rows, count)
    }

    /// The same for a table `into` with the same columns.
    pub(super) fn insert_into(self, into: &str, rows: Bytes, count: usize) -> (String, Bytes) {
        match self {
            Self::Events => (self.statement(into, "Native"), native::block(event::COLUMNS, &rows, count).into()),
            Self::Deliveries | Self::Decisions | Self::Tallies => (self.statement(into, "RowBinary"), rows),
        }
    }

    fn statement(self, into: &str, format: &str) -> String {
        let columns: Vec<&str> = match self {
            Self::Events => event::COLUMNS.iter().map(|column| column.name).collect(),
            Self::Deliveries => DELIVERY_COLUMNS.to_vec(),
            Self::Decisions => DECISION_COLUMNS.to_vec(),
            Self::Tallies => TALLY_COLUMNS.to_vec(),
        };
        format!("INSERT INTO {into} (`{}`) FORMAT {format}", columns.join("`, `"))
    }

    /// The column of what [`Table::append`] returns.
    pub(super) fn id_column(self) -> &'static str {
        match self {
            Self::Events => "event_id",
            Self::Deliveries => "delivery_id",
            Self::Decisions => "decision_id",
            Self::Tallies => "tally_id",
        }
    }

    /// Appends the message as a row and tells its id, or leaves `rows` as it was.
    ///
    /// # Errors
    /// What is wrong with the payload; the same payload is refused every time, so a replay repeats it.
    pub fn append(self, message: &Incoming<'_>, rows: &mut Vec<u8>) -> Result<Uuid, FieldError> {
        let mut row = Row(rows);
        let id = match self {
            Self::Events => match AcceptedRef::read(message.payload) {
                Some(accepted) => event::row(&accepted, &mut row),
                None => {
                    event::row(&AcceptedRef::from(&wire::field::parse::<AcceptedEvent>(message.payload)?), &mut row)
                }
            },
            Self::Deliveries => delivery(&wire::field::parse(message.payload)?, message, &mut row),
            Self::Decisions => decision(&wire::field::parse(message.payload)?, message, &mut row),
            Self::Tallies => tally(&wire::field::parse(message.payload)?, message, &mut row),
        };
        place(message, &mut row);
        Ok(id)
    }
}

/// Where in Kafka it came from; the last columns of every table.
fn place(message: &Incoming<'_>, row: &mut Row<'_>) {
    // Kafka counts neither partitions nor offsets below 0.
    row.u32(message.partition.unsigned_abs()).u64(message.offset.unsigned_abs());
}

#[rustfmt::skip]
const DELIVERY_COLUMNS: &[&str] = &[
    "delivery_id", "decision_id", "started_at", "received_at", "pop", "edge_id", "key", "method", "status",
    "cache_status", "range_start", "bytes_sent", "object_bytes", "ttfb_us", "duration_us", "complete", "client_net",
    "tcp_rtt_us", "tcp_retransmits", "cmcd", "_partition", "_offset",
];

fn delivery(delivery: &Delivery, message: &Incoming<'_>, row: &mut Row<'_>) -> Uuid {
    row.uuid(delivery.delivery_id).nullable(delivery.decision_id.map(|id| id.0), Row::uuid);
    row.time(delivery.started_at).time(message.received_at);
    row.text(delivery.pop.as_str()).text(delivery.edge_id.as_str()).text(delivery.key.as_str());
    row.text(&delivery.method).u16(delivery.status).text(delivery.cache_status.as_str());
    row.u64(delivery.range_start).u64(delivery.bytes_sent).nullable(delivery.object_bytes, Row::u64);
    row.u64(delivery.ttfb_us).u64(delivery.duration_us).bool(delivery.complete).text(&delivery.client_net);
    row.nullable(delivery.tcp_rtt_us, Row::u32).nullable(delivery.tcp_retransmits, Row::u32).texts(&delivery.cmcd);
    delivery.delivery_id
}

#[rustfmt::skip]
const DECISION_COLUMNS: &[&str] = &[
    "decision_id", "decided_at", "received_at", "router_id", "via", "policy", "track_id", "client_net",
    "snapshot_version", "ttl_s", "chosen_pop", "chosen_edge", "chosen_reason", "chosen_rtt_ms", "chosen_load",
    "chosen_network_load", "candidates.pop", "candidates.edge", "candidates.rtt_ms", "candidates.rtt_source",
    "candidates.jitter_ms", "candidates.loss", "candidates.load", "candidates.network_load", "candidates.rank",
    "candidates.reason", "excluded.pop", "excluded.edge", "excluded.reason", "_partition", "_offset",
];

fn decision(decision: &Decision, message: &Incoming<'_>, row: &mut Row<'_>) -> Uuid {
    let via = match decision.via {
        Via::Route => "route",
        Via::Play => "play",
    };
    row.uuid(decision.decision_id.0).time(decision.decided_at).time(message.received_at);
    row.text(&decision.router_id).text(via).text(&decision.policy).text(decision.track_id.as_str());
    row.text(&decision.client_net).u64(decision.snapshot_version).u32(decision.ttl_s);
    chosen(decision.chosen(), row);
    candidates(&decision.candidates, row);
    excluded(&decision.excluded, row);
    decision.decision_id.0
}

fn chosen(chosen: Option<&Candidate>, row: &mut Row<'_>) {
    row.optional_text(chosen.map(|c| c.pop.as_str())).optional_text(chosen.map(|c| c.edge.as_str()));
    row.optional_text(chosen.map(|c| c.reason.as_str()));
    row.nullable(chosen.and_then(|c| c.rtt_ms), Row::f64);
    row.f64(chosen.map_or(0.0, |c| c.load)).f64(chosen.map_or(0.0, |c| c.network_load));
}

fn candidates(all: &[Candidate], row: &mut Row<'_>) {
    row.array(all, |row, c| row.text(c.pop.as_str())).array(all, |row, c| row.text(c.edge.as_str()));
    row.array(all, |row, c| row.nullable(c.rtt_ms, Row::f64)).array(all, |row, c| row.text(rtt_source(c.rtt_source)));
    row.array(all, |row, c| row.f64(c.jitter_ms)).array(all, |row, c| row.f64(c.loss));
    row.array(all, |row, c| row.f64(c.load)).array(all, |row, c| row.f64(c.network_load));
    row.array(all, |row, c| row.u32(c.rank)).array(all, |row, c| row.text(&c.reason));
}

fn excluded(all: &[Excluded], row: &mut Row<'_>) {
    row.array(all, |row, e| row.text(e.pop.as_str())).array(all, |row, e| row.text(e.edge.as_str()));
    row.array(all, |row, e| row.text(&e.reason));
}

fn rtt_source(source: RttSource) -> &'static str {
    match source {
        RttSource::Unknown => "unknown",
        RttSource::Probe => "probe",
        RttSource::Listeners => "listeners",
    }
}

#[rustfmt::skip]
const TALLY_COLUMNS: &[&str] = &[
    "tally_id", "ingest_id", "spool_id", "at", "received_at", "given", "settled", "voids.first", "voids.last",
    "waiting", "ended", "_partition", "_offset",
];

fn tally(tally: &Tally, message: &Incoming<'_>, row: &mut Row<'_>) -> Uuid {
    row.uuid(tally.tally_id).text(&tally.ingest_id).uuid(tally.spool_id).time(tally.at).time(message.received_at);
    row.u64(tally.given).u64(tally.settled);
    row.array(&tally.voids, |row, range| row.u64(range.first)).array(&tally.voids, |row, range| row.u64(range.last));
    row.u64(tally.waiting).bool(tally.ended);
    tally.tally_id
}

#[cfg(test)]
mod tests;
