//! Writing an accepted event by hand, byte for byte as serde writes an [`super::AcceptedEvent`]: names need no escaping,
//! and hardly any text does.

use serde::Serialize;
use uuid::Uuid;

use super::{Envelope, EventRef};
use crate::Timestamp;

/// A member's name as it stands in an object after others.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Envelope<'_> {
    /// What it adds to an event, at most.
    #[must_use]
    pub fn most(&self) -> usize {
        // A byte of a text may be escaped to six. Names, marks, instants, numbers and the format are fewer than these.
        let texts = [self.app, self.ingest_id, self.country.unwrap_or_default(), self.client_net];
        texts.iter().map(|text| text.len() * 6).sum::<usize>() + 320
    }

    /// Appends an accepted event; `event` appends what was posted.
    pub fn write(&self, json: &mut Vec<u8>, event: impl FnOnce(&mut Vec<u8>)) {
        json.extend_from_slice(b"{\"event\":");
        event(json);
        let mut object = Object(json);
        object.text(name!("app"), self.app).text(name!("ingest_id"), self.ingest_id);
        object.time(name!("received_at"), self.received_at).time(name!("event_ts"), self.event_ts);
        object.value(name!("skew_ms"), self.skew_ms).text(name!("wire_format"), self.wire_format.as_str());
        object.optional(name!("country"), self.country, Object::text);
        object.value(name!("asn"), self.asn).text(name!("client_net"), self.client_net);
        let numbered = (self.ingest_seq != 0).then_some(self.ingest_seq);
        object.optional(name!("ingest_seq"), numbered, Object::value);
        json.push(b'}');
    }
}

impl EventRef<'_> {
    /// Appends what was posted.
    pub fn write(&self, json: &mut Vec<u8>) {
        let mut object = Object(json);
        object.uuid("{\"event_id\":", self.event_id).text(name!("type"), self.event_type.as_str());
        object.text(name!("session_id"), self.session_id).text(name!("track_id"), self.track_id);
        object.time(name!("client_ts"), self.client_ts).optional(name!("sent_at"), self.sent_at, Object::time);
        object.optional(name!("play_id"), self.play_id, Object::text).optional(name!("seq"), self.seq, Object::value);
        object.optional(name!("user_id"), self.user_id, Object::text);
        object.optional(name!("anon_id"), self.anon_id, Object::text);
        object.optional(name!("position_ms"), self.position_ms, Object::value);
        object.optional(name!("duration_ms"), self.duration_ms, Object::value);
        object.optional(name!("played_ms"), self.played_ms, Object::value);
        object.optional(name!("stall_ms"), self.stall_ms, Object::value);
        object.optional(name!("bitrate_kbps"), self.bitrate_kbps, Object::value);
        object.optional(name!("codec"), self.codec, Object::text);
        object.optional(name!("device"), self.device, Object::text);
        object.optional(name!("os"), self.os, Object::text);
        object.optional(name!("app_version"), self.app_version, Object::text);
        object.optional(name!("pop"), self.pop, Object::text);
        object.optional(name!("edge_id"), self.edge_id, Object::text);
        object.optional(name!("decision_id"), self.decision_id.map(|id| id.0), Object::uuid);
        object.optional(name!("cache_status"), self.cache_status, Object::text);
        object.optional(name!("error_code"), self.error_code, Object::text);
        object.optional(name!("consent"), self.consent.map(super::Consent::as_str), Object::text);
        object.optional(name!("schema_version"), self.schema_version, Object::value);
        object.optional(name!("extra"), self.extra, Object::json);
        json.push(b'}');
    }
}

/// An object's members, each with the comma before it.
struct Object<'j>(&'j mut Vec<u8>);

impl Object<'_> {
    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(name.as_bytes());
    }

    fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.name(name);
        // Without a branch in it, so that many bytes are looked at in one instruction.
        let plain = text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'));
        if plain {
            self.quoted(text.as_bytes());
            return self;
        }
        serde_json::to_writer(&mut *self.0, text).expect("a text is written to memory");
        self
    }

    fn quoted(&mut self, text: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    fn time(&mut self, name: &'static str, at: Timestamp) -> &mut Self {
        self.name(name);
        self.quoted(at.to_text().as_bytes());
        self
    }

    fn uuid(&mut self, name: &'static str, id: Uuid) -> &mut Self {
        self.name(name);
        self.quoted(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        self
    }

    /// A number.
    fn value(&mut self, name: &'static str, value: impl Serialize) -> &mut Self {
        self.name(name);
        serde_json::to_writer(&mut *self.0, &value).expect("a number is written to memory");
        self
    }

    fn json(&mut self, name: &'static str, json: &str) -> &mut Self {
        self.name(name);
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        value: Option<T>,
        write: impl for<'r> FnOnce(&'r mut Self, &'static str, T) -> &'r mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => write(self, name, value),
            None => self,
        }
    }
}
