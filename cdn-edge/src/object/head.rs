//! The head of an answer: as it is held and as the index log keeps it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use wire::{EdgeId, Timestamp};

use super::fields::Fields;
use crate::conditions::Validators;
use crate::freshness::{self, Life};
use crate::vary::Selectors;

/// What of an answer is held beside its body. A newer one takes its place when the origin confirms it.
#[derive(Debug, Clone)]
pub struct Head {
    /// 200 where parts of it are held, too.
    pub status: StatusCode,
    /// As they go out.
    pub fields: Fields,
    /// The fields have a `Date`; where not, each answer is given its own.
    pub dated: bool,
    pub life: Life,
    etag: Option<HeaderValue>,
    pub last_modified: Option<SystemTime>,
    seen: Seen,
}

/// Up to which purge it is known that a head is not concerned, or has been changed as the purge demands.
#[derive(Debug)]
struct Seen(AtomicU64);

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
}

impl Head {
    #[must_use]
    pub fn new(status: StatusCode, mut headers: HeaderMap, life: Life, shared: &HeaderMap) -> Self {
        for (name, value) in shared {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        let last_modified = freshness::date(&headers, header::LAST_MODIFIED);
        let (fields, dated) = (Fields::of(&headers), headers.contains_key(header::DATE));
        // Of the same memory as the fields, and not of the origin's answer.
        let etag = fields.get(&header::ETAG);
        Self { status, fields, dated, life, etag, last_modified, seen: Seen(AtomicU64::new(life.asked)) }
    }

    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.fields.to_map()
    }

    /// Whether no purge up to this one is still to be looked at: all that a hit is asked about purges.
    #[must_use]
    pub fn has_seen(&self, purge: u64) -> bool {
        self.seen.0.load(Relaxed) >= purge
    }

    /// A purge looked at is looked at; whoever is late takes nothing back.
    pub fn saw(&self, purge: u64) {
        self.seen.0.fetch_max(purge, Relaxed);
    }

    /// The same, confirmed by an answer to a newer question.
    #[must_use]
    pub fn with_life(self, life: Life) -> Self {
        Self { life, seen: Seen(AtomicU64::new(life.asked)), ..self }
    }

    /// The same as a soft purge leaves it.
    #[must_use]
    pub fn purged(&self, at: i64) -> Self {
        Self { life: self.life.purged(at), ..self.clone() }
    }

    #[must_use]
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.etag.as_ref()
    }

    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: self.etag(), last_modified: self.last_modified }
    }

    /// RFC 9111, section 3.2: newer fields take the place of those of the same name, but for what
    /// describes the body that is held.
    #[must_use]
    pub fn updated(&self, newer: &HeaderMap, life: Life) -> Self {
        const OF_THE_BODY: [HeaderName; 4] =
            [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_RANGE];
        let mut headers = self.headers();
        for name in newer.keys().filter(|name| !OF_THE_BODY.contains(name)) {
            headers.remove(name);
            for value in newer.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        Self::new(self.status, headers, life, &HeaderMap::new())
    }

    /// What was received without `Date` was made now (RFC 9110, section 6.6.1).
    pub fn date(headers: &mut HeaderMap, now: Timestamp) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis().unsigned_abs());
        let date = || HeaderValue::try_from(httpdate::fmt_http_date(at)).expect("a date is ASCII");
        headers.entry(header::DATE).or_insert_with(date);
    }
}

/// An answer without its body, as the index log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    status: u16,
    /// None of an answer that came without its length and is not at its end yet.
    pub size: Option<u64>,
    /// A character is a byte, for values need not be UTF-8.
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Selectors,
    /// The edge that gave it; none where the origin did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled_by: Option<EdgeId>,
}

impl Description {
    #[must_use]
    pub fn new(status: StatusCode, size: Option<u64>, headers: &HeaderMap, selectors: Selectors) -> Self {
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
        let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        Self { status: status.as_u16(), size, headers, selectors, filled_by: None }
    }

    #[must_use]
    pub fn filled_by(self, filled_by: Option<EdgeId>) -> Self {
        Self { filled_by, ..self }
    }

    #[must_use]
    pub fn with_size(self, size: Option<u64>) -> Self {
        Self { size, ..self }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK)
    }

    #[must_use]
    pub fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.headers.len() + 8);
        for (name, text) in &self.headers {
            let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
            let value = bytes.and_then(|bytes| HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).ok());
            if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
                map.append(name, value);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_description_brings_the_head_back() {
        let mut told = headers(&[("set-cookie", "a"), ("set-cookie", "b"), ("etag", "\"x\"")]);
        told.insert("x", HeaderValue::from_bytes(b"\xe9\xff").unwrap());
        let description = Description::new(StatusCode::GONE, Some(7), &told, vec![("a".into(), None)]);
        let text = serde_json::to_string(&description).unwrap();
        let back: Description = serde_json::from_str(&text).unwrap();
        assert_eq!((back.header_map(), back.status(), &back), (told, StatusCode::GONE, &description));
    }

    #[test]
    fn rfc9111_3_2_updating_stored_fields() {
        let policy = Life::of_age(0);
        let held = [("a", "1"), ("b", "1"), ("b", "2"), ("content-length", "9"), ("content-encoding", "br")];
        let held = Head::new(StatusCode::OK, headers(&held), policy, &HeaderMap::new());
        let newer = headers(&[("b", "3"), ("c", "4"), ("content-length", "0"), ("content-encoding", "x")]);
        let wanted =
            headers(&[("a", "1"), ("b", "3"), ("c", "4"), ("content-length", "9"), ("content-encoding", "br")]);
        assert_eq!(held.updated(&newer, policy).headers(), wanted);
    }
}
