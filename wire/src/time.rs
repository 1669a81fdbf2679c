//! Instants, in milliseconds since the Unix epoch, written as RFC 3339 in UTC.

mod rfc3339;

use std::fmt;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// 2200-01-01: later than any clock we could be asked to believe, and inside what ClickHouse's
/// `DateTime64(3)` and chrono hold, so that no conversion after this one can fail.
const MAX_MS: i64 = 7_258_118_400_000;

/// An instant, in milliseconds since 1970-01-01T00:00:00Z; never before it, never after 2199.
///
/// Read from an RFC 3339 text with any offset or from a whole number of epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `None` outside 1970 to 2199.
    #[must_use]
    pub fn from_millis(ms: i64) -> Option<Self> {
        (0..MAX_MS).contains(&ms).then_some(Self(ms))
    }

    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).min(MAX_MS - 1))
    }

    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Moved by `ms`, kept inside 1970 to 2199.
    #[must_use]
    pub fn saturating_add_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).clamp(0, MAX_MS - 1))
    }

    /// How long after `earlier` this is, in milliseconds; negative when it is before.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// As it is written.
    pub(crate) fn to_text(self) -> rfc3339::Text {
        rfc3339::write(self.0)
    }

    /// From RFC 3339; quickest where it is as we write it.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let others = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis());
        rfc3339::read(text).or_else(others).and_then(Self::from_millis)
    }

    /// Only as we write it.
    pub(crate) fn from_our_text(text: &str) -> Option<Self> {
        rfc3339::read(text).and_then(Self::from_millis)
    }

    #[must_use]
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).expect("the constructor keeps the range that chrono holds")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(rfc3339::write(self.0).as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(rfc3339::write(self.0).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time or whole epoch milliseconds, from 1970 to 2199")
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
        Timestamp::from_millis(ms).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(ms), &self))
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
        i64::try_from(ms)
            .ok()
            .and_then(Timestamp::from_millis)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_and_writes_one() {
        for text in ["\"2026-11-21T10:00:00.123+01:00\"", "1795251600123", "\"2026-11-21T09:00:00.123Z\""] {
            let at: Timestamp = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&at).unwrap(), "\"2026-11-21T09:00:00.123Z\"");
        }
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in ["-1", "1e3", "18446744073709551615", "\"yesterday\"", "\"1969-12-31T23:59:59Z\"", "null", "[]"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }
}
