//! What the live figures need of an accepted event, borrowed from Kafka's message.
//!
//! A whole event is forty fields, most of them texts of their own; these are seven, and none is copied
//! unless JSON escaped it.

use std::borrow::Cow;

use serde::Deserialize;
use wire::Timestamp;
use wire::event::EventType;

#[derive(Debug, Deserialize)]
pub(super) struct Heard<'a> {
    #[serde(borrow)]
    pub(super) event: Event<'a>,
    pub(super) received_at: Timestamp,
    pub(super) event_ts: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    pub(super) event_type: EventType,
    #[serde(borrow)]
    pub(super) session_id: Text<'a>,
    #[serde(borrow)]
    pub(super) track_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) play_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) pop: Option<Text<'a>>,
}

/// serde borrows a bare `Cow` only, not one inside an `Option`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> Heard<'a> {
    /// None for what is no accepted event; the sink sets it aside.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_s_own_event_is_read_without_a_copy() {
        let golden = include_bytes!("../../../../wire/tests/golden/accepted_event.json");
        let heard = Heard::read(golden).unwrap();
        let whole: wire::event::AcceptedEvent = serde_json::from_slice(golden).unwrap();
        assert_eq!(heard.event.event_type, whole.event.event_type);
        assert_eq!((heard.received_at, heard.event_ts), (whole.received_at, whole.event_ts));
        for (read, sent) in [
            (Some(&heard.event.session_id), Some(whole.event.session_id.as_str())),
            (Some(&heard.event.track_id), Some(whole.event.track_id.as_str())),
            (heard.event.play_id.as_ref(), whole.event.play_id.as_ref().map(wire::PlayId::as_str)),
            (heard.event.pop.as_ref(), whole.event.pop.as_ref().map(wire::PopId::as_str)),
        ] {
            assert_eq!(read.map(|text| &*text.0), sent);
            assert!(read.is_none_or(|text| matches!(text.0, Cow::Borrowed(_))));
        }
        assert!(Heard::read(b"{}").is_none() && Heard::read(b"\xff").is_none());
    }
}
