//! What a player sent and no field has a name for.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use crate::FieldError;

/// The longest `extra`, in bytes of JSON.
pub const MAX_EXTRA: usize = 4096;

/// Fields of an event that have no name of their own: a JSON object of at most [`MAX_EXTRA`] bytes, its values kept
/// as they were written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Extra(Box<RawValue>);

impl Extra {
    /// # Errors
    /// When it is no object, or too long a one.
    pub fn new(json: Box<RawValue>) -> Result<Self, String> {
        if !json.get().starts_with('{') {
            return Err("must be a JSON object".into());
        }
        if json.get().len() > MAX_EXTRA {
            return Err(format!("must be at most {MAX_EXTRA} bytes, not {}", json.get().len()));
        }
        Ok(Self(json))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Box::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// An [`Extra`] in the making: names and values as they come.
#[derive(Debug, Default)]
pub struct Members {
    json: Vec<u8>,
    /// Where in `json` the names stand, each as it is escaped there.
    names: Vec<Range<usize>>,
}

impl Members {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a member can surely be added: escaped, a name may take six times its length.
    #[must_use]
    pub fn has_room_for(&self, name: &str, value: &RawValue) -> bool {
        self.json.len() + 6 * name.len() + value.get().len() + 5 <= MAX_EXTRA
    }

    /// # Errors
    /// When there are too many bytes.
    pub fn push(&mut self, name: &str, value: &RawValue) -> Result<(), FieldError> {
        self.json.push(if self.is_empty() { b'{' } else { b',' });
        let start = self.json.len();
        // A name is shorter than what it is escaped to, so this cannot write far beyond the bound.
        if start + name.len() + value.get().len() < MAX_EXTRA {
            serde_json::to_writer(&mut self.json, name).expect("a text is written to memory");
            self.names.push(start..self.json.len());
            self.json.push(b':');
            self.json.extend_from_slice(value.get().as_bytes());
        }
        // One byte is left for the closing brace.
        if self.names.last().is_none_or(|last| last.start != start) || self.json.len() >= MAX_EXTRA {
            let detail = format!("with all fields that have no other name must be at most {MAX_EXTRA} bytes");
            return Err(FieldError::new("extra", detail));
        }
        Ok(())
    }

    /// # Errors
    /// As [`Members::push`].
    pub fn push_all(&mut self, extra: &Extra) -> Result<(), FieldError> {
        let mut deserializer = serde_json::Deserializer::from_str(extra.as_str());
        PushAll(self).deserialize(&mut deserializer).map_err(|e| crate::field::located(".", &e))
    }

    /// The object, or none where there was no member.
    ///
    /// # Errors
    /// When a name is there twice.
    pub fn finish(mut self) -> Result<Option<Extra>, FieldError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.json.push(b'}');
        let json = String::from_utf8(self.json).expect("made of texts");
        if let Some(name) = twice(&json, &mut self.names) {
            let name = serde_json::from_str::<String>(name).unwrap_or_default();
            return Err(FieldError::new(name, "is given twice"));
        }
        let json = RawValue::from_string(json).expect("made of JSON's names and values");
        Ok(Some(Extra(json)))
    }
}

/// Sorted, so that a thousand short names are not compared each with each.
fn twice<'a>(json: &'a str, names: &mut [Range<usize>]) -> Option<&'a str> {
    names.sort_unstable_by(|a, b| json[a.clone()].cmp(&json[b.clone()]));
    names.windows(2).find(|pair| json[pair[0].clone()] == json[pair[1].clone()]).map(|pair| &json[pair[0].clone()])
}

struct PushAll<'a>(&'a mut Members);

impl<'de> DeserializeSeed<'de> for PushAll<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PushAll<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            self.0.push(&name, &value).map_err(|error| error.into_serde())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    #[test]
    fn values_are_kept_as_they_were_written() {
        let mut members = Members::default();
        members.push("a \"b\"", &raw("1e400")).unwrap();
        members.push_all(&Extra::new(raw("{ \"c\" : [ 1 ] }")).unwrap()).unwrap();
        assert_eq!(members.finish().unwrap().unwrap().as_str(), r#"{"a \"b\"":1e400,"c":[ 1 ]}"#);
        assert_eq!(Members::default().finish().unwrap(), None);
    }

    #[test]
    fn the_bound_is_exact() {
        let with = |len: usize| {
            let mut members = Members::default();
            // {"a":"…"}
            members.push("a", &raw(&format!("\"{}\"", "x".repeat(len - 8))))?;
            members.finish()
        };
        assert_eq!(with(MAX_EXTRA).unwrap().unwrap().as_str().len(), MAX_EXTRA);
        assert_eq!(with(MAX_EXTRA + 1).unwrap_err().field, "extra");
        let mut members = Members::default();
        assert_eq!(members.push(&"\u{1}".repeat(MAX_EXTRA - 10), &raw("1")).unwrap_err().field, "extra");
    }
}
