//! Identifiers. Each is validated when it is made, so code that holds one need not look again.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is no identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {rule}")]
pub struct InvalidId {
    rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// # Errors
            #[doc = concat!("[`InvalidId`] unless the text is ", $rule, ".")]
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidId { rule: $rule }) }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

pub(crate) fn is_slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(crate) fn is_printable(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Segments that a file system or a URL parser would read as "here" or "up" never get into a key.
fn is_object_key(key: &str) -> bool {
    (1..=1024).contains(&key.len())
        && !key.chars().any(char::is_control)
        && !key.contains('\\')
        && key.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

text_id!(
    /// A point of presence: a place with one or more edges, such as `fra`.
    PopId, "1 to 63 of a-z, 0-9 and inner hyphens", is_slug
);
text_id!(
    /// One edge server, such as `fra-1`.
    EdgeId, "1 to 63 of a-z, 0-9 and inner hyphens", is_slug
);
text_id!(
    /// A track, as the service that owns the player names it.
    TrackId, "1 to 128 bytes with no control character", is_printable
);
text_id!(
    /// One run of a player: what it plays between opening and closing.
    SessionId, "1 to 128 bytes with no control character", is_printable
);
text_id!(
    /// One play of one track in a session.
    PlayId, "1 to 128 bytes with no control character", is_printable
);
text_id!(
    /// An object's key in the origin bucket, without a leading slash.
    ObjectKey, "1 to 1024 bytes of non-empty path segments, none of them . or ..", is_object_key
);

/// One play event; a client that sends again sends the same one.
pub type EventId = Uuid;

/// One routing decision; travels in media URLs as `decision_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(pub Uuid);

impl DecisionId {
    /// Time-ordered, so that ClickHouse and logs sort by it, with 74 random bits.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DecisionId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_refuse_what_climbs() {
        for bad in ["", "/a", "a/", "a//b", "a/../b", "..", "./a", "a\\b", "a\0b", "a\nb"] {
            assert!(ObjectKey::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "t/1/128.m3u8", "t/..a/b..c", "müsik/♪.m4a"] {
            assert!(ObjectKey::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn slugs_are_host_labels() {
        for bad in ["", "-a", "a-", "Fra", "fra.1", &"a".repeat(64)] {
            assert!(EdgeId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(EdgeId::new("fra-1").unwrap().as_str(), "fra-1");
    }
}
