//! `Vary` (RFC 9111, section 4.1): which of several answers under one key a request may get.

use http::{HeaderMap, HeaderName, header};

/// Fields that one answer may vary by; more is no way to find it again.
const MAX_FIELDS: usize = 16;

/// Answers held under one key; the oldest gives way to the next.
pub const MAX_VARIANTS: usize = 32;

/// These are told to the origin as the key has them, so the key tells them apart already.
const IN_THE_KEY: [&str; 3] = ["host", "x-forwarded-host", "x-forwarded-proto"];

/// The fields that an answer varies by, with what its request had there, normalised; still what a request
/// may carry.
pub type Selectors = Vec<(String, Option<String>)>;

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::VARY).iter();
    values.flat_map(|value| value.to_str().unwrap_or("*").split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// False for `Vary: *`, which no later request matches, and for what we cannot read.
#[must_use]
pub fn is_storable(response: &HeaderMap) -> bool {
    names(response).all(|name| name.parse::<HeaderName>().is_ok() && name != "*")
        && names(response).count() <= MAX_FIELDS
}

/// What a later request must have, too.
#[must_use]
pub fn selectors(response: &HeaderMap, request: &HeaderMap) -> Selectors {
    let mut names: Vec<String> = names(response).map(str::to_ascii_lowercase).collect();
    names.retain(|name| !IN_THE_KEY.contains(&name.as_str()));
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (selected(&name, request), name)).map(|(value, name)| (name, value)).collect()
}

#[must_use]
pub fn matches(selectors: &Selectors, request: &HeaderMap) -> bool {
    selectors.iter().all(|(name, wanted)| selected(name, request) == *wanted)
}

/// What tells requests apart that would get different answers, where an answer is known that varies so.
#[must_use]
pub fn secondary(known: &Selectors, request: &HeaderMap) -> String {
    let value = |name: &str| selected(name, request).unwrap_or_default();
    known.iter().map(|(name, _)| format!("\0{name}\0{}", value(name))).collect()
}

/// A field of a request in the form in which two that mean the same are the same.
fn selected(name: &str, request: &HeaderMap) -> Option<String> {
    let values: Vec<String> =
        request.get_all(name).iter().map(|value| value.as_bytes().iter().map(|&b| char::from(b)).collect()).collect();
    if values.is_empty() {
        return None;
    }
    // No list: what stands between its commas is a cookie's own. Its crumbs are the origin's whole (RFC 9113, 8.2.3).
    if name == "cookie" {
        return Some(values.join("; "));
    }
    let joined = values.join(",");
    let parts = joined.split(',').map(str::trim).filter(|part| !part.is_empty());
    Some(match name {
        "accept-encoding" => weighted(parts, Equals::Unordered),
        "accept-language" => weighted(parts, Equals::Ordered),
        _ => parts.collect::<Vec<_>>().join(","),
    })
}

/// Whether the order in which equals stand may mean something.
enum Equals {
    Unordered,
    /// Some origins take it for a preference (RFC 9110, section 12.5.4).
    Ordered,
}

/// Preferences without regard to case and spaces. What weighs 0 is as good as absent unless it takes from a default that
/// exists without it, or from `*`.
fn weighted<'a>(parts: impl Iterator<Item = &'a str>, equals: Equals) -> String {
    let mut preferences: Vec<(u32, String)> = parts.map(preference).collect();
    preferences.retain(|(_, name)| !name.is_empty());
    let anything = preferences.iter().any(|(weight, name)| *weight > 0 && name == "*");
    preferences.retain(|(weight, name)| *weight > 0 || anything || matches!(name.as_str(), "identity" | "*"));
    match equals {
        Equals::Unordered => preferences.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1))),
        Equals::Ordered => preferences.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight)),
    }
    preferences.dedup();
    let text = |(weight, name): &(u32, String)| match weight {
        1000 => name.clone(),
        less => format!("{name};q={}.{:03}", less / 1000, less % 1000),
    };
    preferences.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The weight in thousandths.
fn preference(part: &str) -> (u32, String) {
    let (name, parameter) = part.split_once(';').unwrap_or((part, ""));
    let weight = parameter.trim().split_once('=').filter(|(q, _)| q.trim().eq_ignore_ascii_case("q"));
    let weight = weight.and_then(|(_, weight)| weight.trim().parse::<f64>().ok()).unwrap_or(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u32;
    (thousandths, name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn same(vary: &str, one: &[(&'static str, &str)], other: &[(&'static str, &str)]) -> bool {
        matches(&selectors(&headers(&[("vary", vary)]), &headers(one)), &headers(other))
    }

    #[test]
    fn rfc9111_4_1_selecting() {
        assert!(same("Foo", &[("foo", "1")], &[("foo", "1")]));
        assert!(!same("foo", &[("foo", "1")], &[("foo", "2")]));
        assert!(!same("foo", &[("foo", "1")], &[]) && !same("foo", &[], &[("foo", "1")]));
        assert!(same("foo", &[], &[("bar", "1")]));
        assert!(same("Host, X-Forwarded-Proto", &[("host", "origin")], &[("host", "client")]), "the key has them");
        assert!(!same("foo, bar", &[("foo", "1")], &[("foo", "1"), ("bar", "2")]));
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1,2")]), "spaces around commas");
        assert!(!same("foo", &[("foo", "1,2")], &[("foo", "2,1")]), "the order of a field we do not know");
        let mut twice = headers(&[("foo", "1")]);
        twice.append("foo", "2".parse().unwrap());
        assert!(matches(&selectors(&headers(&[("vary", "foo")]), &twice), &headers(&[("foo", "1, 2")])));
    }

    #[test]
    fn preferences_are_normalised() {
        for (one, other, wanted) in [
            ("en, de", "de,en", false),
            ("de;q=0.1, en;q=0.5, fr;q=0.5", "en;q=0.5,fr;q=0.5,de;q=0.1", true),
            ("EN", "en", true),
            ("en;q=1.0", "en", true),
            ("en, de;q=0.5", "de;q=0.50, en", true),
            ("en, de;q=0", "en", true),
            ("en, de;q=0.5", "en;q=0.5, de", false),
            ("en", "de", false),
            (";q=0.5, en", "en", true),
        ] {
            let told = same("accept-language", &[("accept-language", one)], &[("accept-language", other)]);
            assert_eq!(told, wanted, "{one} and {other}");
        }
        assert!(same("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "br , gzip")]));
        assert!(!same("accept-encoding", &[("accept-encoding", "gzip")], &[("accept-encoding", "gzip, identity;q=0")]));
        assert!(!same("accept-encoding", &[("accept-encoding", "*")], &[("accept-encoding", "*, gzip;q=0")]));
        assert!(!same("cookie", &[("cookie", "a=1,b=2")], &[("cookie", "a=1,, b=2")]));
        let mut crumbs = headers(&[("cookie", "a=1")]);
        crumbs.append("cookie", "b=2".parse().unwrap());
        assert!(matches(&selectors(&headers(&[("vary", "cookie")]), &crumbs), &headers(&[("cookie", "a=1; b=2")])));
    }

    #[test]
    fn rfc9111_4_1_star_and_nonsense_never_match() {
        for vary in ["*", "accept, *", "a b", "\u{1}"] {
            let Ok(value) = vary.parse() else { continue };
            assert!(!is_storable(&HeaderMap::from_iter([(header::VARY, value)])), "{vary}");
        }
        assert!(is_storable(&headers(&[("vary", ", accept")])) && is_storable(&headers(&[])));
    }
}
