//! Events whose texts lie elsewhere: in the bytes they were read from, or in an [`Event`]. Nothing is copied between
//! a body and Kafka's message, nor between that and a row.

use crate::{DecisionId, EventId, Timestamp};

use super::{AcceptedEvent, Consent, Event, EventType, Extra, WireFormat};

/// An [`Event`], field by field. What made it has looked at every value.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRef<'a> {
    pub event_id: EventId,
    pub event_type: EventType,
    pub session_id: &'a str,
    pub track_id: &'a str,
    pub client_ts: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub play_id: Option<&'a str>,
    pub seq: Option<u32>,
    pub user_id: Option<&'a str>,
    pub anon_id: Option<&'a str>,
    pub position_ms: Option<u64>,
    pub duration_ms: Option<u64>,
    pub played_ms: Option<u64>,
    pub stall_ms: Option<u64>,
    pub bitrate_kbps: Option<u32>,
    pub codec: Option<&'a str>,
    pub device: Option<&'a str>,
    pub os: Option<&'a str>,
    pub app_version: Option<&'a str>,
    pub pop: Option<&'a str>,
    pub edge_id: Option<&'a str>,
    pub decision_id: Option<DecisionId>,
    pub cache_status: Option<&'a str>,
    pub error_code: Option<&'a str>,
    pub consent: Option<Consent>,
    pub schema_version: Option<u16>,
    /// A JSON object.
    pub extra: Option<&'a str>,
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            event_id: event.event_id,
            event_type: event.event_type,
            session_id: event.session_id.as_str(),
            track_id: event.track_id.as_str(),
            client_ts: event.client_ts,
            sent_at: event.sent_at,
            play_id: event.play_id.as_ref().map(|id| id.as_str()),
            seq: event.seq,
            user_id: event.user_id.as_deref(),
            anon_id: event.anon_id.as_deref(),
            position_ms: event.position_ms,
            duration_ms: event.duration_ms,
            played_ms: event.played_ms,
            stall_ms: event.stall_ms,
            bitrate_kbps: event.bitrate_kbps,
            codec: event.codec.as_deref(),
            device: event.device.as_deref(),
            os: event.os.as_deref(),
            app_version: event.app_version.as_deref(),
            pop: event.pop.as_ref().map(|id| id.as_str()),
            edge_id: event.edge_id.as_ref().map(|id| id.as_str()),
            decision_id: event.decision_id,
            cache_status: event.cache_status.as_deref(),
            error_code: event.error_code.as_deref(),
            consent: event.consent,
            schema_version: event.schema_version,
            extra: event.extra.as_ref().map(Extra::as_str),
        }
    }
}

/// An [`AcceptedEvent`], field by field.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedRef<'a> {
    pub event: EventRef<'a>,
    pub envelope: Envelope<'a>,
}

/// What an accepted event has around what was posted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Envelope<'a> {
    pub app: &'a str,
    pub ingest_id: &'a str,
    pub received_at: Timestamp,
    pub event_ts: Timestamp,
    pub skew_ms: i64,
    pub wire_format: WireFormat,
    pub country: Option<&'a str>,
    pub asn: u32,
    pub client_net: &'a str,
    /// 0 is not written, as in [`AcceptedEvent`].
    pub ingest_seq: u64,
}

impl<'a> From<&'a AcceptedEvent> for AcceptedRef<'a> {
    fn from(accepted: &'a AcceptedEvent) -> Self {
        let envelope = Envelope {
            app: &accepted.app,
            ingest_id: &accepted.ingest_id,
            received_at: accepted.received_at,
            event_ts: accepted.event_ts,
            skew_ms: accepted.skew_ms,
            wire_format: accepted.wire_format,
            country: accepted.country.as_deref(),
            asn: accepted.asn,
            client_net: &accepted.client_net,
            ingest_seq: accepted.ingest_seq,
        };
        Self { event: EventRef::from(&accepted.event), envelope }
    }
}
