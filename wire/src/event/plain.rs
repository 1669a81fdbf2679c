//! Reading what nearly every event looks like: only fields that have a name here, their texts in visible ASCII without
//! an escape, their numbers whole. Such an event is read in one pass without a copy.
//!
//! Whatever is otherwise, also what is wrong, is not plain, and for [`super::Event::parse`] to read or to refuse: what is
//! plain, that reads as the same event. Nothing here decides what an event may be.

mod scan;

use super::verbatim::Verbatim;
use super::{
    AcceptedRef, Consent, Envelope, EventRef, EventType, MAX_BITRATE_KBPS, MAX_MEDIA_MS, MAX_TEXT, WireFormat,
};
use crate::id::{is_printable, is_slug};
use crate::{DecisionId, EventId, Timestamp};
use scan::Scanner;

/// What has to be read in the general way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPlain;

/// From one table: which members an object may have, in the order in which they are mostly written, and how the value
/// of each is read.
macro_rules! members {
    ($draft:ident<$life:lifetime> { $($name:literal => $field:ident: $as:ty = $read:expr),+ $(,)? }) => {
        #[derive(Default)]
        struct $draft<$life> { $($field: Option<$as>),+ }

        impl<$life> $draft<$life> {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn read(json: &mut Scanner<$life>) -> Option<Self> {
                let mut draft = Self::default();
                let mut expected = 0;
                json.object(|json, name| {
                    let which = position(Self::NAMES, expected, name)?;
                    expected = which + 1;
                    draft.member(which, json)
                })?;
                Some(draft)
            }

            fn member(&mut self, which: usize, json: &mut Scanner<$life>) -> Option<()> {
                #[allow(non_camel_case_types, reason = "named like the fields they stand for")]
                enum Member { $($field),+ }
                match which {
                    $(which if which == Member::$field as usize => {
                        let read: fn(&mut Scanner<$life>) -> Option<$as> = $read;
                        // Given twice, it is an error.
                        if self.$field.replace(read(json)?).is_some() { None } else { Some(()) }
                    })+
                    _ => None,
                }
            }
        }
    };
}

/// Members mostly come in the table's order, so that the next one is nearly always the one expected.
fn position(names: &[&str], expected: usize, name: &str) -> Option<usize> {
    let (before, after) = names.split_at(expected);
    let found = after.iter().position(|known| *known == name).map(|nth| expected + nth);
    found.or_else(|| before.iter().position(|known| *known == name))
}

members! { EventDraft<'a> {
    "event_id" => event_id: EventId = |json| json.uuid().filter(|id| !id.is_nil()),
    "type" => event_type: EventType = event_type,
    "session_id" => session_id: &'a str = id,
    "track_id" => track_id: &'a str = id,
    "client_ts" => client_ts: Timestamp = Scanner::time,
    "sent_at" => sent_at: Timestamp = Scanner::time,
    "play_id" => play_id: &'a str = id,
    "seq" => seq: u32 = up_to::<{ u32::MAX as u64 }, u32>,
    "user_id" => user_id: &'a str = text,
    "anon_id" => anon_id: &'a str = text,
    "position_ms" => position_ms: u64 = up_to::<MAX_MEDIA_MS, u64>,
    "duration_ms" => duration_ms: u64 = up_to::<MAX_MEDIA_MS, u64>,
    "played_ms" => played_ms: u64 = up_to::<MAX_MEDIA_MS, u64>,
    "stall_ms" => stall_ms: u64 = up_to::<MAX_MEDIA_MS, u64>,
    "bitrate_kbps" => bitrate_kbps: u32 = up_to::<{ MAX_BITRATE_KBPS as u64 }, u32>,
    "codec" => codec: &'a str = text,
    "device" => device: &'a str = text,
    "os" => os: &'a str = text,
    "app_version" => app_version: &'a str = text,
    "pop" => pop: &'a str = slug,
    "edge_id" => edge_id: &'a str = slug,
    "decision_id" => decision_id: DecisionId = |json| json.uuid().map(DecisionId),
    "cache_status" => cache_status: &'a str = text,
    "error_code" => error_code: &'a str = text,
    "consent" => consent: Consent = consent,
    "schema_version" => schema_version: u16 = up_to::<{ u16::MAX as u64 }, u16>,
} }

members! { AcceptedDraft<'a> {
    "event" => event: EventRef<'a> = event,
    "app" => app: &'a str = Scanner::text,
    "ingest_id" => ingest_id: &'a str = Scanner::text,
    "received_at" => received_at: Timestamp = Scanner::time,
    "event_ts" => event_ts: Timestamp = Scanner::time,
    "skew_ms" => skew_ms: i64 = Scanner::signed,
    "wire_format" => wire_format: WireFormat = wire_format,
    "country" => country: &'a str = Scanner::text,
    "asn" => asn: u32 = up_to::<{ u32::MAX as u64 }, u32>,
    "client_net" => client_net: &'a str = Scanner::text,
    "ingest_seq" => ingest_seq: u64 = Scanner::whole,
} }

fn event<'a>(json: &mut Scanner<'a>) -> Option<EventRef<'a>> {
    let draft = EventDraft::read(json)?;
    Some(EventRef {
        event_id: draft.event_id?,
        event_type: draft.event_type?,
        session_id: draft.session_id?,
        track_id: draft.track_id?,
        client_ts: draft.client_ts?,
        sent_at: draft.sent_at,
        play_id: draft.play_id,
        seq: draft.seq,
        user_id: draft.user_id,
        anon_id: draft.anon_id,
        position_ms: draft.position_ms,
        duration_ms: draft.duration_ms,
        played_ms: draft.played_ms,
        stall_ms: draft.stall_ms,
        bitrate_kbps: draft.bitrate_kbps,
        codec: draft.codec,
        device: draft.device,
        os: draft.os,
        app_version: draft.app_version,
        pop: draft.pop,
        edge_id: draft.edge_id,
        decision_id: draft.decision_id,
        cache_status: draft.cache_status,
        error_code: draft.error_code,
        consent: draft.consent,
        schema_version: draft.schema_version,
        extra: None,
    })
}

fn id<'a>(json: &mut Scanner<'a>) -> Option<&'a str> {
    json.text().filter(|text| is_printable(text))
}

fn slug<'a>(json: &mut Scanner<'a>) -> Option<&'a str> {
    json.text().filter(|text| is_slug(text))
}

fn text<'a>(json: &mut Scanner<'a>) -> Option<&'a str> {
    json.text().filter(|text| text.len() <= MAX_TEXT)
}

fn up_to<const MAX: u64, T: TryFrom<u64>>(json: &mut Scanner<'_>) -> Option<T> {
    json.whole().filter(|number| *number <= MAX)?.try_into().ok()
}

fn event_type(json: &mut Scanner<'_>) -> Option<EventType> {
    let text = json.text()?;
    EventType::ALL.into_iter().find(|known| known.as_str() == text)
}

fn consent(json: &mut Scanner<'_>) -> Option<Consent> {
    let text = json.text()?;
    [Consent::Granted, Consent::Denied].into_iter().find(|known| known.as_str() == text)
}

fn wire_format(json: &mut Scanner<'_>) -> Option<WireFormat> {
    let text = json.text()?;
    WireFormat::ALL.into_iter().find(|known| known.as_str() == text)
}

/// A plain event, with itself as it was written where we would write it so but for the order of its members.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainEvent<'a> {
    pub event: EventRef<'a>,
    pub verbatim: Option<Verbatim<'a>>,
}

impl<'a> PlainEvent<'a> {
    /// One event and nothing else; none where it is not plain.
    #[must_use]
    pub fn read(json: &'a [u8]) -> Option<Self> {
        let mut json = Scanner::of(json)?;
        let event = Self::next(&mut json)?;
        json.end().map(|()| event)
    }

    fn next(json: &mut Scanner<'a>) -> Option<Self> {
        let begin = json.begin()?;
        let event = event(json)?;
        let verbatim = json.as_we_write(begin).map(|json| Verbatim::new(json, event.user_id, event.anon_id));
        Some(Self { event, verbatim })
    }
}

/// The events of a body: one, or an array of them.
#[derive(Debug)]
pub struct PlainEvents<'a> {
    json: Scanner<'a>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    One,
    /// Of an array, before its first.
    First,
    More,
    Ended,
}

impl<'a> PlainEvents<'a> {
    /// None where the body is no text that begins as these do.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Option<Self> {
        let mut json = Scanner::of(body)?;
        let state = if json.mark(b'[').is_some() { State::First } else { State::One };
        Some(Self { json, state })
    }

    fn step(&mut self) -> Option<Option<PlainEvent<'a>>> {
        let event = match self.state {
            State::Ended => return Some(None),
            State::One | State::First => PlainEvent::next(&mut self.json)?,
            State::More if self.json.mark(b']').is_some() => {
                self.state = State::Ended;
                return self.json.end().map(|()| None);
            }
            State::More => {
                self.json.mark(b',')?;
                PlainEvent::next(&mut self.json)?
            }
        };
        if self.state == State::One {
            self.json.end()?;
            self.state = State::Ended;
        } else {
            self.state = State::More;
        }
        Some(Some(event))
    }
}

impl<'a> Iterator for PlainEvents<'a> {
    type Item = Result<PlainEvent<'a>, NotPlain>;

    /// After a [`NotPlain`] all of the body is to be read in the general way, for that may refuse it as a whole.
    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Some(event) => event.map(Ok),
            None => {
                self.state = State::Ended;
                Some(Err(NotPlain))
            }
        }
    }
}

impl<'a> EventRef<'a> {
    /// As [`PlainEvent::read`].
    #[must_use]
    pub fn read(json: &'a [u8]) -> Option<Self> {
        PlainEvent::read(json).map(|plain| plain.event)
    }
}

impl<'a> AcceptedRef<'a> {
    /// As [`EventRef::read`].
    #[must_use]
    pub fn read(json: &'a [u8]) -> Option<Self> {
        let mut json = Scanner::of(json)?;
        let draft = AcceptedDraft::read(&mut json)?;
        json.end()?;
        let envelope = Envelope {
            app: draft.app?,
            ingest_id: draft.ingest_id?,
            received_at: draft.received_at?,
            event_ts: draft.event_ts?,
            skew_ms: draft.skew_ms?,
            wire_format: draft.wire_format?,
            country: draft.country,
            asn: draft.asn.unwrap_or_default(),
            client_net: draft.client_net.unwrap_or_default(),
            ingest_seq: draft.ingest_seq?,
        };
        Some(Self { event: draft.event?, envelope })
    }
}

#[cfg(test)]
mod tests;
