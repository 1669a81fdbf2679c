//! From an element's bytes to a message for Kafka, or a refusal. Pure: the clock comes in.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use service::Problem;
use uuid::Uuid;
use wire::event::{ElementError, Envelope, Event, EventRef, PlainEvent, PlainEvents, WireFormat};
use wire::{FieldError, Timestamp};

use crate::body::MAX_ELEMENTS;
use crate::clock::{self, Corrected};
use crate::geo::Place;
use crate::message::{Copied, EventMessage, USUAL_BYTES, Written};
use crate::privacy::{self, Hasher, KeptPlace, Listener};

/// Why an element is not accepted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) id: Option<String>,
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) field: Option<String>,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn at(self, index: usize) -> ElementError {
        ElementError {
            index,
            event_id: self.id,
            status: self.status.as_u16(),
            problem_type: Problem::type_uri(self.kind),
            field: self.field,
            detail: self.detail,
            retryable: self.status.is_server_error(),
        }
    }

    pub(crate) fn too_large(id: Uuid, bytes: usize, most: usize) -> Self {
        Self {
            id: Some(id.to_string()),
            status: StatusCode::PAYLOAD_TOO_LARGE,
            kind: "element-too-large",
            field: None,
            detail: format!("the element makes a message of {bytes} bytes; kafka takes {most}"),
        }
    }

    /// A value in the element is wrong; its id is told where it can be read all the same.
    pub(crate) fn bad_field(error: FieldError, element: &[u8]) -> Self {
        Self {
            id: sent_id(element),
            status: StatusCode::BAD_REQUEST,
            kind: "bad-field",
            field: Some(brief(error.field)),
            detail: brief(error.detail),
        }
    }
}

/// Words that quote the sender are cut: an answer must not be many times what was sent.
fn brief(mut words: String) -> String {
    const MOST: usize = 400;
    words.truncate(words.floor_char_boundary(MOST));
    words
}

/// What only the server knows of a request's events.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) app: &'a str,
    pub(crate) ingest_id: &'a str,
    pub(crate) received_at: Timestamp,
    pub(crate) wire_format: WireFormat,
    pub(crate) place: Place,
    pub(crate) hasher: Hasher,
}

/// One event as posted and read becomes the message that Kafka gets, but for its number.
pub(crate) fn event<'a>(
    element: &[u8],
    read: Result<Event, FieldError>,
    context: &'a Context<'_>,
) -> Result<EventMessage<'a>, Refusal> {
    let event = read.map_err(|error| Refusal::bad_field(error, element))?;
    let event = EventRef::from(&event);
    let listener = context.hasher.listener(&event);
    Ok(EventMessage::Written(written(event, &listener, context)))
}

/// As [`event`], of an element in JSON of our own.
pub(crate) fn json<'a>(element: &'a [u8], context: &'a Context<'_>) -> Result<EventMessage<'a>, Refusal> {
    match PlainEvent::read(element) {
        Some(plain) => Ok(message(plain, context)),
        None => event(element, Event::parse(element), context),
    }
}

/// All events of a body, where each of them is plain; else none, and the body is to be cut first.
pub(crate) fn plain<'a>(body: &'a [u8], context: &'a Context<'_>) -> Option<Vec<EventMessage<'a>>> {
    // Mostly it is one.
    let mut messages = Vec::with_capacity(1);
    for plain in PlainEvents::of(body)? {
        if messages.len() == MAX_ELEMENTS {
            return None;
        }
        messages.push(message(plain.ok()?, context));
    }
    Some(messages)
}

/// By copying, where all that was posted may be kept.
fn message<'a>(plain: PlainEvent<'a>, context: &'a Context<'_>) -> EventMessage<'a> {
    let PlainEvent { event, verbatim } = plain;
    let listener = context.hasher.listener(&event);
    match verbatim.filter(|_| privacy::keeps_all(&event, &listener)) {
        Some(posted) => EventMessage::Copied(Copied {
            id: event.event_id,
            session_id: event.session_id,
            posted,
            envelope: envelope(&event, privacy::kept_place(&event, &context.place), context),
            listener,
        }),
        None => EventMessage::Written(written(event, &listener, context)),
    }
}

fn written(event: EventRef<'_>, listener: &Listener, context: &Context<'_>) -> Written {
    let envelope = envelope(&event, privacy::kept_place(&event, &context.place), context);
    let event = privacy::keep(event, listener);
    let mut payload = Vec::with_capacity(USUAL_BYTES);
    envelope.write(&mut payload, |payload| event.write(payload));
    Written { id: event.event_id, key: event.session_id.to_owned(), payload }
}

fn envelope<'a>(event: &EventRef<'_>, place: KeptPlace<'a>, context: &Context<'a>) -> Envelope<'a> {
    let Corrected { event_ts, skew_ms } = clock::correct(event.client_ts, event.sent_at, context.received_at);
    Envelope {
        app: context.app,
        ingest_id: context.ingest_id,
        received_at: context.received_at,
        event_ts,
        skew_ms,
        wire_format: context.wire_format,
        country: place.country,
        asn: place.asn,
        client_net: place.client_net,
        ingest_seq: 0,
    }
}

/// The element's id as it was sent, even where the element is not what it should be; at most what a UUID needs twice.
fn sent_id(element: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        event_id: Option<Value>,
        delivery_id: Option<Value>,
        /// A CloudEvent's.
        id: Option<Value>,
    }
    let found: Identified = wire::field::parse(element).ok()?;
    let first = [found.event_id, found.delivery_id, found.id].into_iter().flatten().next()?;
    first.as_str().filter(|id| id.len() <= 72).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::event::AcceptedEvent;

    use super::*;
    use crate::message::Message;
    use crate::privacy::pseudonyms;

    const ID: &str = "01935b0e-0000-7000-8000-000000000001";

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    fn context() -> Context<'static> {
        Context {
            app: "web",
            ingest_id: "i-1",
            received_at: at("2026-11-21T09:00:10Z"),
            wire_format: WireFormat::Json,
            place: Place { country: Some("PL".into()), asn: 64500, client_net: "203.0.113.0/24".into() },
            hasher: Hasher::new(Arc::new(pseudonyms(&[1]))),
        }
    }

    fn payload(message: &EventMessage<'_>, number: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        message.write(number, &mut payload);
        assert!(payload.len() <= message.most() && message.most() + message.key().len() < message.room());
        payload
    }

    /// Copied or written, it says the same.
    fn accept(element: &serde_json::Value) -> Result<AcceptedEvent, Refusal> {
        let (context, compact) = (context(), element.to_string());
        let read = |payload: Vec<u8>| serde_json::from_slice::<AcceptedEvent>(&payload).unwrap();
        let written = event(compact.as_bytes(), Event::parse(compact.as_bytes()), &context)
            .map(|message| (message.id(), message.key().to_owned(), read(payload(&message, 7))));
        for posted in [compact, serde_json::to_string_pretty(element).unwrap()] {
            let message = json(posted.as_bytes(), &context)
                .map(|message| (message.id(), message.key().to_owned(), read(payload(&message, 7))));
            assert_eq!(message, written);
        }
        written.map(|(_, _, accepted)| accepted)
    }

    fn element(more: &serde_json::Value) -> serde_json::Value {
        let mut all = serde_json::json!({
            "event_id": ID, "type": "progress", "session_id": "s", "track_id": "t",
            "client_ts": "2026-11-21T08:00:00.000Z"
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    #[test]
    fn a_clock_that_is_wrong_by_an_hour_is_put_right() {
        let accepted = accept(&element(&serde_json::json!({"sent_at": "2026-11-21T08:00:08Z"}))).unwrap();
        assert_eq!(accepted.skew_ms, 3_602_000);
        assert_eq!(accepted.event_ts, at("2026-11-21T09:00:02Z"));
        assert_eq!((accepted.app.as_str(), accepted.ingest_id.as_str(), accepted.ingest_seq), ("web", "i-1", 7));
    }

    #[test]
    fn a_body_of_plain_events_makes_the_messages_that_each_would() {
        let elements = [element(&serde_json::json!({"user_id": "u"})), element(&serde_json::json!({"anon_id": "a"}))];
        let body = serde_json::Value::from(elements.to_vec()).to_string();
        let context = context();
        let payloads = |messages: &[EventMessage<'_>]| messages.iter().map(|one| payload(one, 1)).collect::<Vec<_>>();
        let each = elements.clone().map(|element| element.to_string());
        let each = each.iter().map(|element| json(element.as_bytes(), &context).unwrap()).collect::<Vec<_>>();
        assert!(each.iter().all(|message| matches!(message, EventMessage::Copied(_))));
        assert_eq!(payloads(&plain(body.as_bytes(), &context).unwrap()), payloads(&each));
        let many = format!("[{}", format!("{},", elements[0]).repeat(MAX_ELEMENTS));
        let full = format!("{}]", many.trim_end_matches(','));
        assert_eq!(plain(full.as_bytes(), &context).unwrap().len(), MAX_ELEMENTS);
        assert!(plain(format!("{many}{}]", elements[0]).as_bytes(), &context).is_none());
        assert!(plain(b"[7]", &context).is_none());
    }

    #[test]
    fn a_refusal_names_the_field_and_the_event() {
        let refused = accept(&element(&serde_json::json!({"position_ms": -1}))).unwrap_err().at(3);
        assert_eq!((refused.index, refused.status, refused.retryable), (3, 400, false));
        assert_eq!((refused.event_id.as_deref(), refused.field.as_deref()), (Some(ID), Some("position_ms")));
        for odd in [serde_json::json!(null), serde_json::json!([1]), serde_json::json!("x"), serde_json::json!(1.5)] {
            let refused = accept(&odd).unwrap_err();
            assert_eq!((refused.id, refused.field.as_deref()), (None, Some(".")));
        }
    }
}
