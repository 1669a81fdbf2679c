//! CloudEvents 1.0, as JSON (one or a batch) or with the attributes in HTTP headers.
//!
//! `type` is one of our event types, bare or behind a dotted prefix (`com.example.player.progress`). `id` becomes the
//! `event_id`: as it is where it is a UUID, derived from `source` and `id` where not. `data` is a JSON object of the
//! event's other fields; `time` is its `client_ts` where the data has none. In `extra` are kept extension attributes
//! under their names, and `source`, `subject`, `dataschema` and an `id` that is no UUID with `ce_` before theirs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;
use wire::event::{Event, Members};
use wire::{FieldError, Timestamp};

use super::{derived_id, is_json};

/// Whether a request's headers are a CloudEvent's.
pub(crate) fn in_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| matches!(name.as_str(), "ce-specversion" | "ce-id" | "ce-type" | "ce-source"))
}

/// # Errors
/// [`FieldError`] naming the attribute, or the field as `data.NAME`.
pub(crate) fn structured(element: &[u8], app: &str) -> Result<Event, FieldError> {
    let mut attributes = Attributes::default();
    let mut data = None;
    for (name, value) in wire::field::members(element)? {
        match &*name {
            "data" | "data_base64" if data.is_some() => return Err(FieldError::new(name, "is given twice")),
            "data" => data = Some(value.get().as_bytes().to_vec()),
            "data_base64" => data = Some(from_base64(value)?),
            name => attributes.set(name, value)?,
        }
    }
    attributes.event(&data.ok_or_else(|| FieldError::new("data", "is required"))?, app)
}

/// # Errors
/// As [`structured`]; attributes are named as headers.
pub(crate) fn binary(headers: &HeaderMap, data: &[u8], app: &str) -> Result<Event, FieldError> {
    let as_header = |error: FieldError| match error.field.as_str() {
        "." | "extra" | "data" => error,
        field if field.starts_with("data.") => error,
        field => FieldError::new(format!("ce-{field}"), error.detail),
    };
    let mut attributes = Attributes::default();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let value = value.to_str().ok().and_then(|text| percent_decode_str(text).decode_utf8().ok());
        let value = value.ok_or_else(|| FieldError::new(header.as_str(), "must be percent-encoded UTF-8"))?;
        attributes.set(name, &json_text(&value)).map_err(as_header)?;
    }
    attributes.event(data, app).map_err(as_header)
}

#[derive(Default)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    time: Option<Timestamp>,
    /// What goes into `extra`.
    others: Members,
}

impl Attributes {
    fn set(&mut self, name: &str, value: &RawValue) -> Result<(), FieldError> {
        // An attribute that is null is one that is not there.
        if value.get() == "null" {
            return Ok(());
        }
        match name {
            "specversion" => once(&mut self.specversion, name, value),
            "id" => once(&mut self.id, name, value),
            "source" => once(&mut self.source, name, value),
            "type" => once(&mut self.event_type, name, value),
            "time" => once(&mut self.time, name, value),
            "datacontenttype" => content_type(value),
            "subject" | "dataschema" => self.others.push(&format!("ce_{name}"), value),
            _ => self.others.push(name, value),
        }
    }

    fn event(mut self, data: &[u8], app: &str) -> Result<Event, FieldError> {
        if self.specversion.take().as_deref() != Some("1.0") {
            return Err(FieldError::new("specversion", "is required and must be 1.0"));
        }
        let (id, source) = (required("id", self.id.take())?, required("source", self.source.take())?);
        let event_type = required("type", self.event_type.take())?;
        let event_id = Uuid::try_parse(&id).unwrap_or_else(|_| derived_id(app, &["cloudevents", &source, &id]));
        if Uuid::try_parse(&id).is_err() {
            self.others.push("ce_id", &json_text(&id))?;
        }
        self.others.push("ce_source", &json_text(&source))?;
        let our_type = event_type.rsplit('.').next().unwrap_or_default();
        let event = compose(event_id, our_type, self.time, data)?;
        keep(event, self.others)
    }
}

/// The event that the data's fields make together with what the attributes say.
fn compose(event_id: Uuid, event_type: &str, time: Option<Timestamp>, data: &[u8]) -> Result<Event, FieldError> {
    let in_data = |error: FieldError| match error.field.as_str() {
        "." => FieldError::new("data", error.detail),
        field => FieldError::new(format!("data.{field}"), error.detail),
    };
    let fields = wire::field::members(data).map_err(in_data)?;
    let named = |name: &str| fields.iter().any(|(field, _)| field == name);
    for (field, attribute) in [("event_id", "id"), ("type", "type")] {
        if named(field) {
            let detail = format!("is what the CloudEvent's {attribute} says");
            return Err(FieldError::new(format!("data.{field}"), detail));
        }
    }
    let mut json = format!(r#"{{"event_id":"{event_id}","type":{}"#, json_text(event_type));
    if let (Some(time), false) = (time, named("client_ts")) {
        json.push_str(&format!(r#","client_ts":{}"#, time.as_millis()));
    }
    // Between the data's braces there is something, or nothing but white space.
    let inner = data.trim_ascii();
    if !fields.is_empty() {
        json.push(',');
    }
    json.push_str(std::str::from_utf8(&inner[1..]).expect("its members were read as JSON"));
    Event::parse(json.as_bytes()).map_err(|error| match error.field.as_str() {
        "type" => error,
        "client_ts" if !named("client_ts") => FieldError::new("time", "is required where the data has no client_ts"),
        _ => in_data(error),
    })
}

fn keep(mut event: Event, mut attributes: Members) -> Result<Event, FieldError> {
    if let Some(extra) = &event.extra {
        attributes.push_all(extra)?;
    }
    event.extra = attributes.finish()?;
    Ok(event)
}

fn once<T: serde::de::DeserializeOwned>(place: &mut Option<T>, name: &str, value: &RawValue) -> Result<(), FieldError> {
    let value = serde_json::from_str(value.get()).map_err(|error| {
        let detail = error.to_string();
        FieldError::new(name, detail.split(" at line ").next().unwrap_or_default())
    })?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(FieldError::new(name, "is given twice")),
    }
}

fn required(name: &str, value: Option<String>) -> Result<String, FieldError> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| FieldError::new(name, "is required"))
}

fn content_type(value: &RawValue) -> Result<(), FieldError> {
    let named: Option<String> = serde_json::from_str(value.get()).ok();
    let essence = named.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match is_json(&essence.to_ascii_lowercase()) {
        true => Ok(()),
        false => Err(FieldError::new("datacontenttype", "must be application/json or another JSON type")),
    }
}

fn from_base64(value: &RawValue) -> Result<Vec<u8>, FieldError> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let bytes = text.and_then(|text| BASE64.decode(text).ok());
    bytes.ok_or_else(|| FieldError::new("data_base64", "must be Base64"))
}

fn json_text(text: &str) -> Box<RawValue> {
    to_raw_value(text).expect("a text is written to memory")
}

#[cfg(test)]
mod tests;
