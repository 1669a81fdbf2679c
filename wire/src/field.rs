//! Parsing JSON so that a refusal names the field.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What was wrong with which field of a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct FieldError {
    /// A path such as `track_id` or `candidates[2].rtt_ms`; `.` for the value as a whole.
    pub field: String,
    /// What is wrong, in words a client's author can act on.
    pub detail: String,
}

impl FieldError {
    #[must_use]
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }

    /// For a visitor: what [`parse`] then tells of this field, wherever in the value the visitor stands.
    pub(crate) fn into_serde<E: serde::de::Error>(self) -> E {
        E::custom(format_args!("field `{}`: {}", self.field, self.detail))
    }
}

/// Parses one JSON object.
///
/// # Errors
/// [`FieldError`] naming the first field that is missing, of another type, or out of its bounds.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, FieldError> {
    // serde would take an array for a struct's fields in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(FieldError::new(".", "must be a JSON object"));
    }
    // Keeping track of the path doubles the cost of parsing: only a refusal pays for it. Nor is each text looked
    // through for UTF-8 where the whole is.
    let value = match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(json),
    };
    if let Ok(value) = value {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| {
        let path = e.path().to_string();
        located(&path, &e.into_inner())
    })?;
    deserializer.end().map_err(|e| located(".", &e))?;
    Ok(value)
}

/// The members of one JSON object, each value as it is written.
///
/// # Errors
/// [`FieldError`] for what is no JSON object.
pub fn members(json: &[u8]) -> Result<Vec<(String, &RawValue)>, FieldError> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(FieldError::new(".", "must be a JSON object"));
    }
    let members: Members<'_> = serde_json::from_slice(json).map_err(|e| located(".", &e))?;
    Ok(members.0)
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// serde reports a missing field at its parent's path; the name stands only in the message.
pub(crate) fn located(path: &str, error: &serde_json::Error) -> FieldError {
    let detail = error.to_string();
    // What broke off before any field is nowhere in particular, and a field named twice is named in the words.
    let path = if path == "?" { "." } else { path };
    if let Some((name, detail)) = detail.strip_prefix("field `").and_then(|told| told.split_once("`: ")) {
        return FieldError::new(name, strip_position(detail));
    }
    if let Some(name) = between(&detail, "duplicate field `") {
        return FieldError::new(name, "is given twice");
    }
    let missing = between(&detail, "missing field `");
    match missing {
        Some(name) if path == "." => FieldError::new(name, "is required"),
        Some(name) => FieldError::new(format!("{path}.{name}"), "is required"),
        None => FieldError::new(path, strip_position(&detail)),
    }
}

/// The name in serde's words after `prefix`.
fn between<'a>(detail: &'a str, prefix: &str) -> Option<&'a str> {
    detail.strip_prefix(prefix)?.split('`').next()
}

/// The position is one inside the element, which the client never saw as a line of its own.
fn strip_position(detail: &str) -> &str {
    detail.rfind(" at line ").map_or(detail, |at| &detail[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[allow(dead_code, reason = "only its parsing matters here")]
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Inner {
        #[allow(dead_code, reason = "only its parsing matters here")]
        n: u8,
    }

    #[test]
    fn names_the_field() {
        let field = |json: &str| parse::<Outer>(json.as_bytes()).unwrap_err().field;
        assert_eq!(field("{"), ".");
        assert_eq!(field(r#"{"inner":{"n":1},"inner":{"n":1}}"#), "inner");
        assert_eq!(field("{}"), "inner");
        assert_eq!(field(r#"{"inner":{}}"#), "inner.n");
        assert_eq!(field(r#"{"inner":{"n":256}}"#), "inner.n");
        assert_eq!(field("[{\"n\":1}]"), ".");
        assert_eq!(field(r#"{"inner":{"n":1}} x"#), ".");
    }
}
