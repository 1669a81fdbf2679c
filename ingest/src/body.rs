//! Cutting a body into elements. Nothing looks into an element here, so a broken one cannot hurt its
//! neighbours: a JSON array is cut by JSON's own grammar, NDJSON by line feeds.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use service::Problem;
use wire::FieldError;

/// Elements of one request; what a player keeps offline for a day fits, what holds a core for a second does not.
pub(crate) const MAX_ELEMENTS: usize = 10_000;

/// The elements of an event, an array of events, or `{"events":[…]}`: 1 to [`MAX_ELEMENTS`] of them.
///
/// # Errors
/// 400 when the body is not JSON of that form or has no element, 413 when it has too many.
pub(crate) fn events(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        events: Option<&'a RawValue>,
    }
    require_start(body, b"{[", "the body must be an event, an array of events, or {\"events\":[…]}")?;
    if body.trim_ascii_start().starts_with(b"[") {
        return array(".", body);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|e| not_json(&e))?;
    match envelope.events {
        Some(list) => array("events", list.get().as_bytes()),
        None => Ok(vec![body.trim_ascii()]),
    }
}

/// The lines that are not blank: 1 to [`MAX_ELEMENTS`] of them.
///
/// # Errors
/// As [`events`].
pub(crate) fn lines(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    counted(body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()))
}

/// One object, the only element.
///
/// # Errors
/// 400 when the body is no JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    require_start(body, b"{", "the body must be a JSON object")?;
    let object: &RawValue = serde_json::from_slice(body).map_err(|e| not_json(&e))?;
    Ok(vec![object.get().as_bytes()])
}

/// The elements of `{"deliveries":[…]}`: 1 to [`MAX_ELEMENTS`] of them.
///
/// # Errors
/// As [`events`].
pub(crate) fn deliveries(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        deliveries: Option<&'a RawValue>,
    }
    require_start(body, b"{", "the body must be {\"deliveries\":[…]}")?;
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|e| not_json(&e))?;
    let list = envelope.deliveries.ok_or_else(|| FieldError::new("deliveries", "is required"))?;
    array("deliveries", list.get().as_bytes())
}

/// serde would read a struct from an array too.
fn require_start(body: &[u8], any_of: &[u8], detail: &str) -> Result<(), Problem> {
    match body.trim_ascii_start().first() {
        Some(first) if any_of.contains(first) => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "not-json", detail)),
        None => Err(empty()),
    }
}

/// The elements of an array: 1 to [`MAX_ELEMENTS`] of them.
///
/// # Errors
/// As [`events`].
pub(crate) fn array<'a>(field: &str, json: &'a [u8]) -> Result<Vec<&'a [u8]>, Problem> {
    if !json.trim_ascii_start().starts_with(b"[") {
        return Err(FieldError::new(field, "must be an array").into());
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(json).map_err(|e| not_json(&e))?;
    counted(elements.into_iter().map(|element| element.get().as_bytes()))
}

fn counted<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Result<Vec<&'a [u8]>, Problem> {
    let elements: Vec<&[u8]> = elements.take(MAX_ELEMENTS + 1).collect();
    match elements.len() {
        0 => Err(empty()),
        1..=MAX_ELEMENTS => Ok(elements),
        _ => {
            let detail = format!("a request may have at most {MAX_ELEMENTS} elements");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-elements", detail))
        }
    }
}

fn empty() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "empty-batch", "the body has no element")
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "not-json", format!("the body is not the expected JSON: {error}"))
}

#[cfg(test)]
mod tests;
