//! How an event may be written: JSON of our own, or what players and services that know nothing of us send.
//!
//! Each format is cut into elements by [`crate::body`], and each element becomes one [`Event`] here, or an error that
//! names the field as the sender wrote it.

pub(crate) mod cloudevents;
pub(crate) mod cmcd;
pub(crate) mod listenbrainz;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode, header};
use service::Problem;
use uuid::Uuid;
use wire::FieldError;
use wire::event::{Event, WireFormat};

use crate::body;

/// How a body of `POST /v1/events` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An event, an array of them, or `{"events":[…]}`.
    Json,
    /// An event a line.
    Ndjson,
    /// One CloudEvent, attributes and data.
    CloudEvent,
    /// An array of these.
    CloudEventBatch,
    /// One CloudEvent's data; its attributes are in headers.
    CloudEventData,
}

impl Format {
    /// By `Content-Type`, and by the headers of a CloudEvent. `text/plain` is JSON, for `navigator.sendBeacon` can send
    /// nothing else without a preflight.
    ///
    /// # Errors
    /// 415 for any other type, and for none where no CloudEvent's headers tell.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = essence(headers);
        match &*essence {
            "application/cloudevents+json" => Ok(Self::CloudEvent),
            "application/cloudevents-batch+json" => Ok(Self::CloudEventBatch),
            _ if cloudevents::in_headers(headers) => match is_json(&essence) || essence.is_empty() {
                true => Ok(Self::CloudEventData),
                false => Err(unsupported("application/json with the headers of a CloudEvent")),
            },
            "application/json" | "text/plain" => Ok(Self::Json),
            "application/x-ndjson" => Ok(Self::Ndjson),
            _ => Err(unsupported("application/json, application/x-ndjson, text/plain with JSON, or a CloudEvent's")),
        }
    }

    pub(crate) fn wire_format(self) -> WireFormat {
        match self {
            Self::Json | Self::Ndjson => WireFormat::Json,
            Self::CloudEvent | Self::CloudEventBatch | Self::CloudEventData => WireFormat::CloudEvents,
        }
    }

    /// # Errors
    /// 400 when the body is not of the format or has no element, 413 when it has too many.
    pub(crate) fn cut(self, body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
        match self {
            Self::Json => body::events(body),
            Self::Ndjson => body::lines(body),
            Self::CloudEvent | Self::CloudEventData => body::object(body),
            Self::CloudEventBatch => body::array(".", body),
        }
    }

    /// # Errors
    /// [`FieldError`] naming the first field that is wrong.
    pub(crate) fn read(self, element: &[u8], headers: &HeaderMap, app: &str) -> Result<Event, FieldError> {
        match self {
            Self::Json | Self::Ndjson => Event::parse(element),
            Self::CloudEvent | Self::CloudEventBatch => cloudevents::structured(element, app),
            Self::CloudEventData => cloudevents::binary(headers, element, app),
        }
    }
}

/// # Errors
/// 415 for anything but JSON.
pub(crate) fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    match &*essence(headers) {
        "application/json" | "text/plain" => Ok(()),
        _ => Err(unsupported("application/json")),
    }
}

/// The media type without its parameters.
pub(crate) fn essence(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(essence.to_ascii_lowercase()),
        false => Cow::Borrowed(essence),
    }
}

pub(crate) fn unsupported(wanted: &str) -> Problem {
    let detail = format!("the Content-Type must be {wanted}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", detail).at("Content-Type")
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// An id for what has none of ours: the same for the same app and words, so that what is sent again counts once.
pub(crate) fn derived_id(app: &str, words: &[&str]) -> Uuid {
    // Made once, at random.
    const NAMESPACE: Uuid = Uuid::from_u128(0x9c1d_0a5e_6f4b_4d2f_8e67_31b0_52c8_f7a4);
    // Each with its length before it, so that no two lists run together to the same bytes.
    let mut name = Vec::new();
    for word in std::iter::once(&app).chain(words) {
        name.extend_from_slice(&(word.len() as u64).to_le_bytes());
        name.extend_from_slice(word.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Format, Problem> {
        Format::of(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn content_types() {
        for (value, format) in [
            ("Application/JSON; charset=utf-8", Format::Json),
            ("text/plain;charset=UTF-8", Format::Json),
            ("application/x-ndjson", Format::Ndjson),
            ("application/cloudevents+json; charset=utf-8", Format::CloudEvent),
            ("application/cloudevents-batch+json", Format::CloudEventBatch),
        ] {
            assert_eq!(of(&[("content-type", value)]).unwrap(), format, "{value}");
        }
        for bad in ["", "application/xml", "application/jsonx", "application/cloudevents+avro", "\u{e9}"] {
            let problem = of(&[("content-type", bad)]).unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (415, Some("Content-Type")), "{bad:?}");
        }
        assert_eq!(of(&[]).unwrap_err().status, 415);
    }

    #[test]
    fn a_cloudevents_headers_tell_what_the_body_is() {
        assert_eq!(of(&[("ce-id", "1")]).unwrap(), Format::CloudEventData);
        assert_eq!(of(&[("ce-type", "t"), ("content-type", "text/json")]).unwrap(), Format::CloudEventData);
        assert_eq!(of(&[("ce-id", "1"), ("content-type", "application/a+json")]).unwrap(), Format::CloudEventData);
        assert_eq!(
            of(&[("ce-id", "1"), ("content-type", "application/cloudevents+json")]).unwrap(),
            Format::CloudEvent
        );
        assert_eq!(of(&[("ce-id", "1"), ("content-type", "application/xml")]).unwrap_err().status, 415);
    }

    #[test]
    fn derived_ids_differ_where_any_word_does() {
        let ids = [
            derived_id("web", &["a", "b"]),
            derived_id("app", &["a", "b"]),
            derived_id("web", &["ab", ""]),
            derived_id("web", &["", "ab"]),
            derived_id("web", &["ab"]),
        ];
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{i}");
        }
        assert_eq!(ids[0], derived_id("web", &["a", "b"]));
    }
}
