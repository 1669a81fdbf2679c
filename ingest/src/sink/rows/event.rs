//! An event as a row of `events`.

use uuid::Uuid;
use wire::event::{AcceptedRef, Consent, Envelope};

use super::super::native::{Column, Holds};
use super::super::rowbinary::Row;

const TEXT: Holds = Holds::Text;
const TIME: Holds = Holds::Fixed("DateTime64(3, 'UTC')", 8);
const U16: Holds = Holds::Fixed("UInt16", 2);
const U32: Holds = Holds::Fixed("UInt32", 4);
const U64: Holds = Holds::Fixed("UInt64", 8);
const I64: Holds = Holds::Fixed("Int64", 8);
const NULLABLE_U32: Holds = Holds::Nullable("UInt32", 4);
const NULLABLE_U64: Holds = Holds::Nullable("UInt64", 8);
const NULLABLE_I64: Holds = Holds::Nullable("Int64", 8);
const NULLABLE_UUID: Holds = Holds::Nullable("UUID", 16);

const fn column(name: &'static str, holds: Holds) -> Column {
    Column { name, holds }
}

/// In the order in which [`row`] and, for the last two, the place in Kafka are written.
pub(in super::super) const COLUMNS: &[Column] = &[
    column("_id_high", U64),
    column("_id_low", U64),
    column("event_ts", TIME),
    column("_delay_ms", I64),
    column("skew_ms", I64),
    column("type", TEXT),
    column("app", TEXT),
    column("session_id", TEXT),
    column("play_id", TEXT),
    column("seq", NULLABLE_U32),
    column("user_id", TEXT),
    column("anon_id", TEXT),
    column("track_id", TEXT),
    column("_ahead_ms", NULLABLE_I64),
    column("duration_ms", NULLABLE_U64),
    column("played_ms", NULLABLE_U64),
    column("stall_ms", NULLABLE_U64),
    column("bitrate_kbps", NULLABLE_U32),
    column("codec", TEXT),
    column("device", TEXT),
    column("os", TEXT),
    column("app_version", TEXT),
    column("pop", TEXT),
    column("edge_id", TEXT),
    column("decision_id", NULLABLE_UUID),
    column("cache_status", TEXT),
    column("error_code", TEXT),
    column("consent", TEXT),
    column("schema_version", U16),
    column("extra", TEXT),
    column("wire_format", TEXT),
    column("country", TEXT),
    column("asn", U32),
    column("client_net", TEXT),
    column("ingest_id", TEXT),
    column("ingest_seq", U64),
    column("_partition", U32),
    column("_offset", U64),
];

pub(super) fn row(accepted: &AcceptedRef<'_>, row: &mut Row<'_>) -> Uuid {
    let AcceptedRef { event, envelope } = accepted;
    id_and_times(event.event_id, envelope, row);
    row.text(event.event_type.as_str()).text(envelope.app).text(event.session_id);
    row.optional_text(event.play_id).nullable(event.seq, Row::u32);
    row.optional_text(event.user_id).optional_text(event.anon_id);
    row.text(event.track_id);
    row.nullable(event.position_ms.map(|position| ahead(position, event.played_ms)), Row::i64);
    for ms in [event.duration_ms, event.played_ms, event.stall_ms] {
        row.nullable(ms, Row::u64);
    }
    row.nullable(event.bitrate_kbps, Row::u32);
    for text in [event.codec, event.device, event.os, event.app_version, event.pop, event.edge_id] {
        row.optional_text(text);
    }
    row.nullable(event.decision_id.map(|id| id.0), Row::uuid);
    row.optional_text(event.cache_status).optional_text(event.error_code);
    row.optional_text(event.consent.map(Consent::as_str)).u16(event.schema_version.unwrap_or(1));
    row.optional_text(event.extra).text(envelope.wire_format.as_str());
    row.optional_text(envelope.country).u32(envelope.asn).text(envelope.client_net);
    row.text(envelope.ingest_id).u64(envelope.ingest_seq);
    event.event_id
}

/// As small numbers, from which the table computes `event_id` and `received_at` again.
fn id_and_times(event_id: Uuid, envelope: &Envelope<'_>, row: &mut Row<'_>) {
    let Envelope { received_at, event_ts, skew_ms, .. } = *envelope;
    let (high, low) = event_id.as_u64_pair();
    // A UUIDv7 begins with the moment that it was made at, mostly that of the event: what is left are 16 bits.
    let made_at = event_ts.as_millis().wrapping_sub(skew_ms).cast_unsigned() << 16;
    row.u64(high.wrapping_sub(made_at)).u64(low).time(event_ts);
    row.i64(received_at.millis_since(event_ts)).i64(skew_ms);
}

/// How far the listener is ahead in the track of what was heard: both are bounded by 30 days.
fn ahead(position_ms: u64, played_ms: Option<u64>) -> i64 {
    position_ms.cast_signed() - played_ms.unwrap_or_default().cast_signed()
}
