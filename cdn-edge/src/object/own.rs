//! The fields of a head that are mostly one object's own, packed: validators, dates, and what origins put on each
//! answer anew.
//!
//! A date in the form in which they are to be written (RFC 9110, section 5.6.7) is kept as its seconds, every other
//! value as it came.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use httpdate::HttpDate;
use service::http::field::line;
use smallvec::SmallVec;

use super::packed::{bytes, put_bytes, text};

/// Others are told by their names. The place is the first byte of a packed field.
const KINDS: [HeaderName; 4] = [header::ETAG, header::LAST_MODIFIED, header::DATE, header::EXPIRES];
const OTHER: u8 = 4;

/// Put to the place of a field that is a date, packed.
const PACKED_DATE: u8 = 8;

/// No two answers have the same; a name that is missing here costs memory and nothing else.
const OTHERS: [&str; 19] = [
    "age",
    "cache-status",
    "cache-tag",
    "content-digest",
    "content-disposition",
    "content-location",
    "content-md5",
    "digest",
    "location",
    "repr-digest",
    "set-cookie",
    "surrogate-key",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amz-version-id",
    "x-goog-hash",
    "x-guploader-uploadid",
    "x-ms-request-id",
    "x-request-id",
];
const PREFIXES: [&str; 3] = ["x-amz-checksum-", "x-amz-meta-", "x-ms-meta-"];

/// So many bytes lie in the head itself: a hit among many objects waits for each piece of memory that it goes to.
const INLINE: usize = 72;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own(SmallVec<[u8; INLINE]>);

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Text(&'a [u8]),
    /// In seconds since the epoch.
    Date(u32),
}

/// Whether a field is kept here.
pub(super) fn is_own(name: &HeaderName) -> bool {
    let text = name.as_str();
    KINDS.contains(name) || OTHERS.contains(&text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

impl Own {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut packed = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| is_own(name)) {
            pack(&mut packed, name, value.as_bytes());
        }
        Self::of_packed(&packed)
    }

    pub(super) fn packed(&self) -> &[u8] {
        &self.0
    }

    /// What was packed before.
    pub(super) fn of_packed(packed: &[u8]) -> Self {
        Self(SmallVec::from_slice(packed))
    }

    fn each(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (kind, tail) = rest.split_first()?;
            rest = tail;
            let name = match KINDS.get(usize::from(kind % PACKED_DATE)) {
                Some(name) => name.as_str(),
                None => text(&mut rest)?,
            };
            let value = match kind / PACKED_DATE {
                0 => Value::Text(bytes(&mut rest)?),
                _ => Value::Date(seconds_of(&mut rest)?),
            };
            Some((name, value))
        })
    }

    fn first(&self, name: &HeaderName) -> Option<Value<'_>> {
        self.each().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Writes the fields as they go out. True where `Date` is one of them.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> bool {
        let mut dated = false;
        for (name, value) in self.each() {
            match value {
                Value::Text(text) => line(out, name, text),
                Value::Date(seconds) => {
                    out.extend_from_slice(name.as_bytes());
                    // A Vec takes all that is written to it.
                    let _ = write!(out, ": {}\r\n", HttpDate::from(time(seconds)));
                }
            }
            dated |= name == header::DATE;
        }
        dated
    }

    /// Puts the fields behind those of a map.
    pub(super) fn append_to(&self, headers: &mut HeaderMap) {
        for (name, value) in self.each() {
            if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), header_value(value)) {
                headers.append(name, value);
            }
        }
    }

    /// The first field of this name.
    pub(super) fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        header_value(self.first(name)?)
    }

    pub(super) fn etag(&self) -> Option<&[u8]> {
        match self.first(&header::ETAG)? {
            Value::Text(text) => Some(text),
            Value::Date(_) => None,
        }
    }

    pub(super) fn last_modified(&self) -> Option<SystemTime> {
        match self.first(&header::LAST_MODIFIED)? {
            Value::Date(seconds) => Some(time(seconds)),
            Value::Text(text) => httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok(),
        }
    }
}

fn pack(packed: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let kind = KINDS.iter().position(|kind| kind == name).and_then(|kind| u8::try_from(kind).ok()).unwrap_or(OTHER);
    if let Some(seconds) = seconds(value).filter(|_| kind != OTHER && *name != header::ETAG) {
        packed.push(kind + PACKED_DATE);
        packed.extend_from_slice(&seconds.to_le_bytes());
        return;
    }
    packed.push(kind);
    if kind == OTHER {
        put_bytes(packed, name.as_str().as_bytes());
    }
    put_bytes(packed, value);
}

fn seconds_of(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_le_bytes(*bytes))
}

/// Of a date that is written as we would write it.
fn seconds(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?;
    let at = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = u32::try_from(at.as_secs()).ok()?;
    (httpdate::fmt_http_date(time(seconds)) == text).then_some(seconds)
}

fn time(seconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

fn header_value(value: Value<'_>) -> Option<HeaderValue> {
    match value {
        Value::Text(text) => HeaderValue::from_bytes(text).ok(),
        Value::Date(seconds) => HeaderValue::try_from(httpdate::fmt_http_date(time(seconds))).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "Fri, 20 Nov 2026 12:00:00 GMT";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn fields_come_back_as_they_were() {
        for pairs in [
            vec![],
            vec![("etag", "\"x\""), ("etag", NOON), ("date", NOON), ("last-modified", NOON), ("expires", "0")],
            // Dates that are read and not written.
            vec![("last-modified", "Friday, 20-Nov-26 12:00:00 GMT"), ("date", "Fri Nov 20 12:00:00 2026")],
            vec![("date", "Thu, 20 Nov 2026 12:00:00 GMT"), ("expires", "Fri, 01 Jan 9999 00:00:00 GMT")],
            vec![("set-cookie", "a=b: c"), ("set-cookie", "\u{e9}\t"), ("x-amz-meta-a", ""), ("age", "1")],
        ] {
            let headers = headers(&pairs);
            let own = Own::of(&headers);
            let mut back = HeaderMap::new();
            own.append_to(&mut back);
            assert_eq!(back, headers);
            let (mut written, mut wanted) = (Vec::new(), Vec::new());
            assert_eq!(own.write(&mut written), headers.contains_key("date"));
            headers.iter().for_each(|(name, value)| line(&mut wanted, name.as_str(), value.as_bytes()));
            assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&wanted));
            assert!(headers.keys().all(|name| own.get(name).as_ref() == headers.get(name)));
        }
    }

    #[test]
    fn what_is_not_an_objects_own_is_left_to_others() {
        let own = Own::of(&headers(&[("content-type", "audio/mp4"), ("cache-control", "max-age=1")]));
        assert!(own.0.is_empty() && own.etag().is_none() && own.last_modified().is_none());
    }

    #[test]
    fn validators_are_read_in_any_form() {
        let at = httpdate::parse_http_date(NOON).ok();
        for date in [NOON, "Friday, 20-Nov-26 12:00:00 GMT"] {
            let own = Own::of(&headers(&[("etag", "W/\"a\""), ("last-modified", date)]));
            assert_eq!((own.etag(), own.last_modified()), (Some(&b"W/\"a\""[..]), at));
        }
        let twice = Own::of(&headers(&[("last-modified", "soon"), ("last-modified", NOON)]));
        assert_eq!(twice.last_modified(), None, "the first one counts");
    }
}
