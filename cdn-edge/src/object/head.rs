//! The head of an answer: as it is held and as the index log keeps it.

mod at_rest;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use wire::{EdgeId, Timestamp};

use super::fields::Fields;
use super::own::{self, Own};
use super::shared::Common;
use crate::conditions::Validators;
use crate::freshness::{Allowed, Life};
use crate::vary::Selectors;

/// What of an answer is held beside its body. A newer one takes its place when the origin confirms it. There are as many
/// as objects, so that what many have alike is [`shared`], and what they have not is packed. In the order in which a hit
/// looks at it.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Head {
    common: Arc<Common>,
    asked: u64,
    born: i64,
    fresh_until: i64,
    seen: Seen,
    /// 200 where parts of it are held, too.
    pub status: StatusCode,
    /// [`NEVER`] where none has.
    purged_at: i64,
    own: Own,
    came: i64,
    /// Until when it is served stale without asking an origin that has just failed.
    excused_until: Excuse,
}

/// No time of a purge.
const NEVER: i64 = i64::MIN;

/// Up to which purge it is known that a head is not concerned, or has been changed as the purge demands: so many after
/// the one that was the newest when the origin was asked.
#[derive(Debug)]
struct Seen(AtomicU32);

#[derive(Debug, Default)]
struct Excuse(AtomicI64);

impl Clone for Excuse {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Relaxed)))
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Relaxed)))
    }
}

impl Head {
    #[must_use]
    pub fn new(status: StatusCode, mut headers: HeaderMap, life: Life, shared: &HeaderMap) -> Self {
        for (name, value) in shared {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        let fields = Fields::of(headers.iter().filter(|(name, _)| !own::is_own(name)));
        let common = Common { allowed: life.allowed(), fields }.shared();
        Self {
            common,
            own: Own::of(&headers),
            born: life.born,
            fresh_until: life.fresh_until,
            came: life.came,
            purged_at: life.purged_at.unwrap_or(NEVER),
            asked: life.asked,
            excused_until: Excuse::default(),
            seen: Seen(AtomicU32::new(0)),
            status,
        }
    }

    #[must_use]
    pub fn life(&self) -> Life {
        let Allowed { stale: stale_allowed, while_revalidate, if_error, immutable } = self.common.allowed;
        Life {
            born: self.born,
            fresh_until: self.fresh_until,
            stale_allowed,
            while_revalidate,
            if_error,
            immutable,
            asked: self.asked,
            came: self.came,
            purged_at: Some(self.purged_at).filter(|at| *at != NEVER),
        }
    }

    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = self.common.fields.to_map();
        self.own.append_to(&mut headers);
        headers
    }

    /// The first field of this name.
    #[must_use]
    pub fn field(&self, name: &HeaderName) -> Option<HeaderValue> {
        if own::is_own(name) { self.own.get(name) } else { self.common.fields.get(name) }
    }

    /// The fields that many heads have alike, as they go out.
    #[must_use]
    pub fn common(&self) -> &Fields {
        &self.common.fields
    }

    /// Writes all others as they go out. True where `Date` is one of them; where not, each answer is given its own.
    pub fn write_own(&self, out: &mut Vec<u8>) -> bool {
        self.own.write(out)
    }

    /// What it takes of memory, about; of the fields that others have alike, its share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.own.packed().len() + self.common.fields.as_bytes().len() / Arc::strong_count(&self.common)
    }

    /// Whether no purge up to this one is still to be looked at: all that a hit is asked about purges.
    #[must_use]
    pub fn has_seen(&self, purge: u64) -> bool {
        purge.saturating_sub(self.asked) <= u64::from(self.seen.0.load(Relaxed))
    }

    /// A purge looked at is looked at; whoever is late takes nothing back.
    pub fn saw(&self, purge: u64) {
        self.seen.0.fetch_max(u32::try_from(purge.saturating_sub(self.asked)).unwrap_or(u32::MAX), Relaxed);
    }

    /// The same, confirmed by an answer to a newer question.
    #[must_use]
    pub fn with_life(self, life: Life) -> Self {
        Self::new(self.status, self.headers(), life, &HeaderMap::new())
    }

    /// The same as a soft purge leaves it.
    #[must_use]
    pub fn purged(&self, at: i64) -> Self {
        Self { fresh_until: self.life().purged(at).fresh_until, purged_at: at, ..self.clone() }
    }

    /// The origin could not be asked: do not ask again before then, unless it has answered.
    pub fn excuse(&self, until: Timestamp) {
        self.excused_until.0.store(until.as_millis(), Relaxed);
    }

    /// Stale, but the origin has just failed, and stale was allowed.
    #[must_use]
    pub fn is_excused(&self, now: Timestamp) -> bool {
        now.as_millis() < self.excused_until.0.load(Relaxed)
    }

    #[must_use]
    pub fn etag(&self) -> Option<HeaderValue> {
        self.own.get(&header::ETAG)
    }

    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: self.own.etag(), last_modified: self.own.last_modified() }
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
    fn a_head_tells_what_it_was_made_of() {
        let life = Life { while_revalidate: 5, if_error: Some(6), asked: 7, came: 8, ..Life::of_age(9) };
        let told = headers(&[("cache-control", "max-age=1"), ("etag", "\"x\""), ("vary", "a")]);
        let head = Head::new(StatusCode::OK, told.clone(), life, &HeaderMap::new());
        assert_eq!((head.life(), head.headers()), (life, told));
        assert_eq!(
            (head.field(&header::VARY).unwrap(), head.etag().unwrap()),
            ("a".parse().unwrap(), "\"x\"".parse().unwrap())
        );
        let purged = head.purged(3);
        assert_eq!((purged.life(), purged.headers()), (life.purged(3), head.headers()));
        let newer = Life { asked: 1, purged_at: None, ..life };
        assert_eq!(purged.with_life(newer).life(), newer);
        assert!(size_of::<Head>() <= 144, "there are millions of them");
    }

    #[test]
    fn purges_that_were_looked_at_are_not_looked_at_again() {
        let head = Head::new(StatusCode::OK, HeaderMap::new(), Life { asked: 5, ..Life::of_age(0) }, &HeaderMap::new());
        assert!(head.has_seen(4) && head.has_seen(5) && !head.has_seen(6));
        head.saw(9);
        head.saw(7);
        assert!(head.has_seen(9) && !head.has_seen(10) && head.clone().has_seen(9));
        head.saw(u64::MAX);
        assert!(!head.has_seen(u64::MAX), "so far ahead each is looked at anew");
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
