//! How long an answer of the origin may be served, in RFC 9111's terms: pure functions of headers and times.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// Longest lifetime we keep count of: a year, as RFC 9111 suggests for "never".
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the origin allows of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// False with `no-store` or `private`: whoever waits for it now gets it, nobody later.
    pub storable: bool,
    /// RFC 9111's `freshness_lifetime`.
    pub lifetime: Duration,
    /// False with `must-revalidate`, `proxy-revalidate`, `no-cache` or `s-maxage`: stale is never served.
    pub stale_allowed: bool,
}

#[derive(Debug, Default)]
struct Directives {
    forbids_storing: bool,
    no_cache: bool,
    forbids_stale: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
}

/// What the headers say, else `default_ttl`.
#[must_use]
pub fn policy(headers: &HeaderMap, received: SystemTime, default_ttl: Duration) -> Policy {
    let said = directives(headers);
    let lifetime = if said.no_cache {
        Duration::ZERO
    } else if let Some(seconds) = said.s_maxage.or(said.max_age) {
        Duration::from_secs(seconds)
    } else if headers.contains_key(header::EXPIRES) {
        until_expiry(headers, received)
    } else {
        default_ttl
    };
    Policy {
        storable: !said.forbids_storing,
        lifetime: lifetime.min(FOREVER),
        stale_allowed: !(said.forbids_stale || said.no_cache || said.s_maxage.is_some()),
    }
}

/// RFC 9111, section 4.2.3: `corrected_initial_age`.
#[must_use]
pub fn initial_age(headers: &HeaderMap, received: SystemTime, response_delay: Duration) -> Duration {
    let apparent = date(headers, header::DATE).and_then(|date| received.duration_since(date).ok()).unwrap_or_default();
    let told = headers.get(header::AGE).and_then(|age| age.to_str().ok()).and_then(delta_seconds).unwrap_or(0);
    apparent.max(Duration::from_secs(told) + response_delay).min(FOREVER)
}

/// An unreadable `Expires` means already stale (RFC 9111, section 5.3).
fn until_expiry(headers: &HeaderMap, received: SystemTime) -> Duration {
    let from = date(headers, header::DATE).unwrap_or(received);
    date(headers, header::EXPIRES).and_then(|expires| expires.duration_since(from).ok()).unwrap_or_default()
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn directives(headers: &HeaderMap) -> Directives {
    let mut said = Directives::default();
    for value in headers.get_all(header::CACHE_CONTROL) {
        // A value that is no text says something we cannot read: the careful reading is "do not store".
        let Ok(text) = value.to_str() else {
            said.forbids_storing = true;
            continue;
        };
        for directive in text.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            said.take(name.trim(), argument.trim().trim_matches('"'));
        }
    }
    said
}

impl Directives {
    fn take(&mut self, name: &str, argument: &str) {
        match name.to_ascii_lowercase().as_str() {
            "no-store" | "private" => self.forbids_storing = true,
            "no-cache" => self.no_cache = true,
            "must-revalidate" | "proxy-revalidate" => self.forbids_stale = true,
            // An unreadable number is read as stale; of two, the shorter one counts.
            "max-age" => self.max_age = Some(shorter(self.max_age, argument)),
            "s-maxage" => self.s_maxage = Some(shorter(self.s_maxage, argument)),
            _ => {}
        }
    }
}

fn shorter(known: Option<u64>, argument: &str) -> u64 {
    let told = delta_seconds(argument).unwrap_or(0);
    known.map_or(told, |known| known.min(told))
}

/// RFC 9111, section 1.2.2: a number too large counts as the largest.
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX).min(FOREVER.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn rfc9111_4_2_1_lifetime() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 09:00:00 GMT").unwrap();
        for (pairs, storable, seconds, stale) in [
            (vec![], true, 3600, true),
            (vec![("cache-control", "max-age=60")], true, 60, true),
            (vec![("cache-control", "max-age=60, s-maxage=\"5\"")], true, 5, false),
            (vec![("cache-control", "MAX-AGE=60,Must-Revalidate")], true, 60, false),
            (vec![("cache-control", "no-cache, max-age=60")], true, 0, false),
            (vec![("cache-control", "no-store")], false, 3600, true),
            (vec![("cache-control", "private, max-age=9")], false, 9, true),
            (vec![("cache-control", "max-age=99999999999999999999")], true, 31_536_000, true),
            (vec![("cache-control", "max-age=-1")], true, 0, true),
            (vec![("cache-control", "max-age=9, max-age=5")], true, 5, true),
            (vec![("expires", "Fri, 20 Nov 2026 09:01:00 GMT")], true, 60, true),
            (vec![("expires", "0")], true, 0, true),
            (vec![("expires", "0"), ("cache-control", "max-age=7")], true, 7, true),
        ] {
            let wanted = Policy { storable, lifetime: Duration::from_secs(seconds), stale_allowed: stale };
            assert_eq!(policy(&headers(&pairs), now, HOUR), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn rfc9111_4_2_3_age() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 09:00:30 GMT").unwrap();
        let age = |pairs: &[(&'static str, &str)]| initial_age(&headers(pairs), now, Duration::from_secs(2)).as_secs();
        assert_eq!(age(&[]), 2);
        assert_eq!(age(&[("age", "10")]), 12);
        assert_eq!(age(&[("age", "10"), ("date", "Fri, 20 Nov 2026 09:00:00 GMT")]), 30);
        assert_eq!(age(&[("age", "ten"), ("date", "Fri, 20 Nov 2026 10:00:00 GMT")]), 2);
    }
}
