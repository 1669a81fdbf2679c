//! Conditional requests (RFC 9110, section 13): which of them an object answers without its body.

use std::time::SystemTime;

use http::{HeaderMap, header};

/// What a representation is compared by.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    pub etag: Option<&'a [u8]>,
    pub last_modified: Option<SystemTime>,
}

/// How a request goes on, in the order of RFC 9110, section 13.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    NotModified,
    PreconditionFailed,
}

/// Evaluates the preconditions of a GET or HEAD. `dated` tells when the object was made, where it does not say when it
/// was modified (RFC 9111, section 4.3.2).
#[must_use]
pub fn evaluate(request: &HeaderMap, object: Validators<'_>, dated: impl FnOnce() -> Option<SystemTime>) -> Verdict {
    if failed_precondition(request, object) {
        return Verdict::PreconditionFailed;
    }
    let unchanged = match request.get(header::IF_NONE_MATCH) {
        Some(_) => any_tag(request, header::IF_NONE_MATCH, |tag| matches_weakly(tag, object.etag)),
        None => date(request, header::IF_MODIFIED_SINCE)
            .and_then(|since| Some(object.last_modified.or_else(dated)? <= since))
            .unwrap_or(false),
    };
    if unchanged { Verdict::NotModified } else { Verdict::Proceed }
}

fn failed_precondition(request: &HeaderMap, object: Validators<'_>) -> bool {
    if request.contains_key(header::IF_MATCH) {
        return !any_tag(request, header::IF_MATCH, |tag| matches_strongly(tag, object.etag));
    }
    date(request, header::IF_UNMODIFIED_SINCE)
        .zip(object.last_modified)
        .is_some_and(|(since, modified)| modified > since)
}

/// Whether `Range` holds: without `If-Range`, or where that names exactly this representation. `is_strong` tells whether
/// its date stands for one version alone (RFC 9110, section 8.8.2.2).
#[must_use]
pub fn range_holds(request: &HeaderMap, object: Validators<'_>, is_strong: impl FnOnce() -> bool) -> bool {
    let Some(value) = request.get(header::IF_RANGE) else { return true };
    let value = value.as_bytes();
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return matches_strongly(value, object.etag);
    }
    let asked = std::str::from_utf8(value).ok().and_then(|text| httpdate::parse_http_date(text).ok());
    asked.is_some() && asked == object.last_modified && is_strong()
}

/// What a field says, where it is a date.
#[must_use]
pub fn date(request: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(request.get(name)?.to_str().ok()?).ok()
}

fn any_tag(request: &HeaderMap, name: header::HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    request.get_all(name).iter().any(|value| tags(value.as_bytes()).any(&matches))
}

/// `*` or entity tags, with `W/` where it stands; commas inside a tag do not part it.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        if rest.is_empty() {
            return None;
        }
        let open = rest.iter().position(|b| matches!(b, b'"' | b',')).filter(|&at| rest[at] == b'"');
        let end = match open {
            Some(open) => rest[open + 1..].iter().position(|&b| b == b'"').map_or(rest.len(), |at| open + at + 2),
            None => rest.iter().position(|&b| b == b',').unwrap_or(rest.len()),
        };
        let (tag, tail) = rest.split_at(end);
        rest = tail;
        Some(tag.trim_ascii())
    })
}

fn matches_weakly(tag: &[u8], etag: Option<&[u8]>) -> bool {
    tag == b"*" || etag.is_some_and(|etag| opaque(tag) == opaque(etag))
}

fn matches_strongly(tag: &[u8], etag: Option<&[u8]>) -> bool {
    tag == b"*" || etag.is_some_and(|etag| tag == etag && !tag.starts_with(b"W/"))
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Fri, 20 Nov 2026 09:00:00 GMT";
    const LATER: &str = "Fri, 20 Nov 2026 09:00:01 GMT";
    const EARLIER: &str = "Fri, 20 Nov 2026 08:59:59 GMT";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn verdict(pairs: &[(&'static str, &str)], etag: &str) -> Verdict {
        let last_modified = httpdate::parse_http_date(MODIFIED).ok();
        evaluate(&headers(pairs), Validators { etag: Some(etag.as_bytes()), last_modified }, || {
            unreachable!("it says so")
        })
    }

    #[test]
    fn rfc9111_4_3_2_without_a_modification_date() {
        let object = Validators { etag: None, last_modified: None };
        let verdict = |since| {
            let asked = headers(&[("if-modified-since", since)]);
            evaluate(&asked, object, || httpdate::parse_http_date(MODIFIED).ok())
        };
        assert_eq!((verdict(MODIFIED), verdict(EARLIER)), (Verdict::NotModified, Verdict::Proceed));
        let unknown = evaluate(&headers(&[("if-modified-since", LATER)]), object, || None);
        assert_eq!(unknown, Verdict::Proceed);
    }

    #[test]
    fn rfc9110_13_preconditions() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        for (pairs, wanted) in [
            (vec![], Proceed),
            (vec![("if-none-match", "\"a\"")], NotModified),
            (vec![("if-none-match", "W/\"a\"")], NotModified),
            (vec![("if-none-match", "\"x,y\", \"a\"")], NotModified),
            (vec![("if-none-match", "*")], NotModified),
            (vec![("if-none-match", "\"b\"")], Proceed),
            (vec![("if-none-match", "\"b\""), ("if-modified-since", LATER)], Proceed),
            (vec![("if-modified-since", MODIFIED)], NotModified),
            (vec![("if-modified-since", EARLIER)], Proceed),
            (vec![("if-modified-since", "yesterday")], Proceed),
            (vec![("if-match", "\"a\"")], Proceed),
            (vec![("if-match", "*")], Proceed),
            (vec![("if-match", "W/\"a\"")], PreconditionFailed),
            (vec![("if-match", "\"b\"")], PreconditionFailed),
            (vec![("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified),
            (vec![("if-unmodified-since", EARLIER)], PreconditionFailed),
            (vec![("if-unmodified-since", MODIFIED)], Proceed),
        ] {
            assert_eq!(verdict(&pairs, "\"a\""), wanted, "{pairs:?}");
        }
        assert_eq!(verdict(&[("if-match", "W/\"a\"")], "W/\"a\""), PreconditionFailed);
        assert_eq!(verdict(&[("if-none-match", "\"a\"")], "W/\"a\""), NotModified);
    }

    #[test]
    fn rfc9110_13_1_5_if_range() {
        let object = Validators { etag: Some(b"\"a\""), last_modified: httpdate::parse_http_date(MODIFIED).ok() };
        for (value, wanted) in
            [("\"a\"", true), ("\"b\"", false), ("W/\"a\"", false), (MODIFIED, true), (LATER, false), ("junk", false)]
        {
            assert_eq!(range_holds(&headers(&[("if-range", value)]), object, || true), wanted, "{value}");
        }
    }
}
