//! Whether two answers carry parts of the same bytes (RFC 9110, sections 8.8.1 and 15.3.7.3).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::freshness::date;

/// A validator that changes whenever a byte does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strong<'a> {
    Tag(&'a HeaderValue),
    Modified(&'a HeaderValue),
}

impl<'a> Strong<'a> {
    /// As `If-Range` carries it.
    #[must_use]
    pub fn value(self) -> &'a HeaderValue {
        match self {
            Self::Tag(value) | Self::Modified(value) => value,
        }
    }
}

/// An entity tag that is not weak; else a date, where the origin's clock had moved on since, so that a
/// second change within the same second cannot hide (section 8.8.2.2).
#[must_use]
pub fn strong(headers: &HeaderMap) -> Option<Strong<'_>> {
    if let Some(tag) = headers.get(header::ETAG) {
        let quoted = tag.len() >= 2 && tag.as_bytes().starts_with(b"\"") && tag.as_bytes().ends_with(b"\"");
        return quoted.then_some(Strong::Tag(tag));
    }
    let (modified, sent) = (date(headers, header::LAST_MODIFIED)?, date(headers, header::DATE)?);
    let moved_on = sent.duration_since(modified).is_ok_and(|since| since >= Duration::from_secs(1));
    moved_on.then(|| Strong::Modified(&headers[header::LAST_MODIFIED]))
}

/// Without a strong validator in both nobody can know, so they are not the same.
#[must_use]
pub fn same(one: &HeaderMap, other: &HeaderMap) -> bool {
    strong(one).is_some_and(|validator| match validator {
        Strong::Tag(tag) => other.get(header::ETAG) == Some(tag),
        Strong::Modified(date) => !other.contains_key(header::ETAG) && other.get(header::LAST_MODIFIED) == Some(date),
    })
}

/// Whether a 206 denies to be of the version that it was asked for with `If-Range`: it repeats an entity tag, and
/// may leave out a date (section 15.3.7).
#[must_use]
pub fn denies(held: &HeaderMap, answer: &HeaderMap) -> bool {
    let repeated = [header::ETAG, header::LAST_MODIFIED].iter().any(|name| answer.contains_key(name));
    let must_repeat = matches!(strong(held), Some(Strong::Tag(_)));
    (repeated || must_repeat) && !same(held, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn rfc9110_8_8_1_strong_validators() {
        const NOON: &str = "Fri, 20 Nov 2026 12:00:00 GMT";
        const LATER: &str = "Fri, 20 Nov 2026 12:00:01 GMT";
        for (pairs, is_strong) in [
            (vec![("etag", "\"a\"")], true),
            (vec![("etag", "W/\"a\"")], false),
            (vec![("etag", "a")], false),
            (vec![("last-modified", NOON), ("date", LATER)], true),
            (vec![("last-modified", NOON), ("date", NOON)], false),
            (vec![("last-modified", NOON)], false),
            (vec![("etag", "W/\"a\""), ("last-modified", NOON), ("date", LATER)], false),
            (vec![], false),
        ] {
            let headers = headers(&pairs);
            assert_eq!((strong(&headers).is_some(), same(&headers, &headers)), (is_strong, is_strong), "{pairs:?}");
        }
        let (a, b) = (headers(&[("etag", "\"a\"")]), headers(&[("etag", "\"b\"")]));
        assert!(!same(&a, &b) && denies(&a, &b) && denies(&a, &headers(&[])) && !denies(&a, &a));
        let dated = headers(&[("last-modified", NOON), ("date", LATER)]);
        assert!(
            !denies(&dated, &headers(&[]))
                && denies(&dated, &a)
                && denies(&dated, &headers(&[("last-modified", LATER)]))
        );
    }
}
