//! Reading an event by hand: serde's `flatten` would hold every value twice, and each event is read by ingest and by
//! the sink.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Consent, Event, EventType, Extra, MAX_BITRATE_KBPS, MAX_MEDIA_MS, MAX_TEXT, Members};
use crate::{DecisionId, EdgeId, EventId, PlayId, PopId, SessionId, Timestamp, TrackId};

/// From one table: which names there are, and a place for the value of each.
macro_rules! fields {
    ($($name:literal => $field:ident: $as:ty),+ $(,)?) => {
        #[derive(Debug, Clone, Copy)]
        #[allow(non_camel_case_types, reason = "named like the fields they stand for")]
        enum Field { $($field),+ }

        impl Field {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$field),)+
                    _ => None,
                }
            }
        }

        #[derive(Default)]
        struct Draft { $($field: Option<$as>),+ }

        impl Draft {
            fn read<'de, A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
                match field {
                    $(Field::$field if self.$field.is_some() => return Err(A::Error::duplicate_field($name)),
                      Field::$field => self.$field = Some(map.next_value()?),)+
                }
                Ok(())
            }
        }
    };
}

fields! {
    "event_id" => event_id: Given,
    "type" => event_type: EventType,
    "session_id" => session_id: SessionId,
    "track_id" => track_id: TrackId,
    "client_ts" => client_ts: Timestamp,
    "sent_at" => sent_at: Option<Timestamp>,
    "play_id" => play_id: Option<PlayId>,
    "seq" => seq: Option<u32>,
    "user_id" => user_id: Text,
    "anon_id" => anon_id: Text,
    "position_ms" => position_ms: UpTo<MAX_MEDIA_MS>,
    "duration_ms" => duration_ms: UpTo<MAX_MEDIA_MS>,
    "played_ms" => played_ms: UpTo<MAX_MEDIA_MS>,
    "stall_ms" => stall_ms: UpTo<MAX_MEDIA_MS>,
    "bitrate_kbps" => bitrate_kbps: UpTo<{ MAX_BITRATE_KBPS as u64 }>,
    "codec" => codec: Text,
    "device" => device: Text,
    "os" => os: Text,
    "app_version" => app_version: Text,
    "pop" => pop: Option<PopId>,
    "edge_id" => edge_id: Option<EdgeId>,
    "decision_id" => decision_id: Option<DecisionId>,
    "cache_status" => cache_status: Text,
    "error_code" => error_code: Text,
    "consent" => consent: Option<Consent>,
    "schema_version" => schema_version: Option<u16>,
    "extra" => extra: Option<Extra>,
}

impl Draft {
    fn finish<E: Error>(self, mut rest: Members) -> Result<Event, E> {
        let mut extra = self.extra.flatten();
        if !rest.is_empty() {
            // Without other members the object stays as it was written.
            extra.iter().try_for_each(|sent| rest.push_all(sent)).map_err(|e| e.into_serde::<E>())?;
            extra = rest.finish().map_err(|e| e.into_serde::<E>())?;
        }
        Ok(Event {
            event_id: self.event_id.ok_or_else(|| E::missing_field("event_id"))?.0,
            event_type: self.event_type.ok_or_else(|| E::missing_field("type"))?,
            session_id: self.session_id.ok_or_else(|| E::missing_field("session_id"))?,
            track_id: self.track_id.ok_or_else(|| E::missing_field("track_id"))?,
            client_ts: self.client_ts.ok_or_else(|| E::missing_field("client_ts"))?,
            sent_at: self.sent_at.flatten(),
            play_id: self.play_id.flatten(),
            seq: self.seq.flatten(),
            user_id: self.user_id.and_then(|text| text.0),
            anon_id: self.anon_id.and_then(|text| text.0),
            position_ms: self.position_ms.and_then(|n| n.0),
            duration_ms: self.duration_ms.and_then(|n| n.0),
            played_ms: self.played_ms.and_then(|n| n.0),
            stall_ms: self.stall_ms.and_then(|n| n.0),
            bitrate_kbps: self.bitrate_kbps.and_then(|n| n.0).map(|n| n.try_into().expect("at most MAX_BITRATE_KBPS")),
            codec: self.codec.and_then(|text| text.0),
            device: self.device.and_then(|text| text.0),
            os: self.os.and_then(|text| text.0),
            app_version: self.app_version.and_then(|text| text.0),
            pop: self.pop.flatten(),
            edge_id: self.edge_id.flatten(),
            decision_id: self.decision_id.flatten(),
            cache_status: self.cache_status.and_then(|text| text.0),
            error_code: self.error_code.and_then(|text| text.0),
            consent: self.consent.flatten(),
            schema_version: self.schema_version.flatten(),
            extra,
        })
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut draft = Draft::default();
        let mut rest = Members::default();
        while let Some(name) = map.next_key()? {
            match name {
                Name::Known(field) => draft.read(field, &mut map)?,
                Name::Other(name) => {
                    let value: Box<RawValue> = map.next_value()?;
                    rest.push(&name, &value).map_err(|error| error.into_serde::<A::Error>())?;
                }
            }
        }
        draft.finish(rest)
    }
}

enum Name<'de> {
    Known(Field),
    Other(Cow<'de, str>),
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Field::named(name).map_or(Name::Other(Cow::Borrowed(name)), Name::Known))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Field::named(name).map_or_else(|| Name::Other(Cow::Owned(name.into())), Name::Known))
    }
}

/// A free text of at most [`MAX_TEXT`] bytes.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<String>::deserialize(deserializer)?;
        match &value {
            Some(text) if text.len() > MAX_TEXT => {
                Err(D::Error::custom(format_args!("must be at most {MAX_TEXT} bytes, not {}", text.len())))
            }
            Some(text) if text.contains('\0') => Err(D::Error::custom("must not contain NUL")),
            _ => Ok(Self(value)),
        }
    }
}

/// An id that someone made: the nil UUID is what libraries fill in for none, and is everybody's.
struct Given(EventId);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match EventId::deserialize(deserializer)? {
            id if id.is_nil() => Err(D::Error::custom("must not be the nil UUID")),
            id => Ok(Self(id)),
        }
    }
}

/// A whole number that is not above `MAX`.
struct UpTo<const MAX: u64>(Option<u64>);

impl<'de, const MAX: u64> Deserialize<'de> for UpTo<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<u64>::deserialize(deserializer)?;
        match value {
            Some(n) if n > MAX => Err(D::Error::custom(format_args!("must be at most {MAX}, not {n}"))),
            _ => Ok(Self(value)),
        }
    }
}

#[cfg(test)]
mod tests;
