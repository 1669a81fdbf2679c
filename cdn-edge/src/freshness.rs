//! How long an answer may be served (RFC 9111, section 4.2; RFC 5861): pure functions of headers and times.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use crate::directives::ResponseDirectives;

/// Longest lifetime we keep count of: a year, as RFC 9111 suggests for "never".
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// RFC 9111, section 1.2.2: the largest number of seconds that is told apart.
const OLDEST: Duration = Duration::from_secs(1 << 31);

/// Longest lifetime that is guessed from `Last-Modified`.
const LONGEST_GUESS: Duration = Duration::from_secs(24 * 3600);

/// What the origin allows of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// RFC 9111's `freshness_lifetime`.
    pub lifetime: Duration,
    /// The origin has told it, or the operator has, rather than a guess.
    pub explicit: bool,
    /// `no-cache`: not served once without asking, however young.
    pub ask_always: bool,
    /// False with `must-revalidate`, `proxy-revalidate`, `no-cache` or `s-maxage`: stale is never served.
    pub stale_allowed: bool,
    pub while_revalidate: Duration,
    pub if_error: Option<Duration>,
    pub immutable: bool,
}

/// How old an answer is and how long it is fresh, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When its age was 0.
    pub born: i64,
    pub fresh_until: i64,
    pub stale_allowed: bool,
    /// `stale-while-revalidate`, from `fresh_until` on.
    #[serde(default)]
    pub while_revalidate: i64,
    /// `stale-if-error`, from `fresh_until` on; none where the origin said nothing of it.
    #[serde(default)]
    pub if_error: Option<i64>,
    #[serde(default)]
    pub immutable: bool,
    /// Which purge was the newest when the origin was asked: an older one does not concern the answer.
    #[serde(default)]
    pub asked: u64,
    /// When the answer came, or was last confirmed.
    #[serde(default)]
    pub came: i64,
    /// When a soft purge made it stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<i64>,
}

/// What a life allows beyond its end: the origin says the same of most of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Allowed {
    pub stale: bool,
    pub while_revalidate: i64,
    pub if_error: Option<i64>,
    pub immutable: bool,
}

impl Life {
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        let Self { stale_allowed: stale, while_revalidate, if_error, immutable, .. } = *self;
        Allowed { stale, while_revalidate, if_error, immutable }
    }

    /// Of an answer of which nothing else is known: stale from its first moment.
    #[must_use]
    pub fn of_age(born: i64) -> Self {
        Self {
            born,
            fresh_until: born,
            stale_allowed: true,
            while_revalidate: 0,
            if_error: None,
            immutable: false,
            asked: 0,
            came: born,
            purged_at: None,
        }
    }

    #[must_use]
    pub fn new(policy: Policy, headers: &HeaderMap, now: Timestamp, response_delay: Duration, asked: u64) -> Self {
        let born = now.as_millis() - millis(initial_age(headers, at(now), response_delay));
        let lifetime = if policy.ask_always { 0 } else { millis(policy.lifetime) };
        Self {
            born,
            fresh_until: born + lifetime,
            stale_allowed: policy.stale_allowed,
            while_revalidate: millis(policy.while_revalidate),
            if_error: policy.if_error.map(millis),
            immutable: policy.immutable,
            asked,
            came: now.as_millis(),
            purged_at: None,
        }
    }

    /// Stale from then on; how long it may be served stale counts from there.
    #[must_use]
    pub fn purged(self, at: i64) -> Self {
        Self { fresh_until: self.fresh_until.min(at), purged_at: Some(at), ..self }
    }

    #[must_use]
    pub fn age_s(&self, now: Timestamp) -> i64 {
        (now.as_millis() - self.born).max(0) / 1000
    }

    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.as_millis() < self.fresh_until
    }

    /// Whether it may be served while it is being asked about (RFC 5861, section 3).
    #[must_use]
    pub fn may_wait(&self, now: Timestamp) -> bool {
        self.stale_allowed && now.as_millis() < self.fresh_until + self.while_revalidate
    }

    /// Whether it may stand in for an origin that has failed: one that answered with an error only as
    /// `stale-if-error` allows (RFC 5861, section 4), one that did not answer at all also without it
    /// (RFC 9111, section 4.2.4).
    #[must_use]
    pub fn may_stand_in(&self, now: Timestamp, answered: bool) -> bool {
        let within = |window: i64| now.as_millis() < self.fresh_until + window;
        self.stale_allowed && self.if_error.map_or(!answered, within)
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn at(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis().unsigned_abs())
}

/// What the directives say, else `Expires`, else `default_ttl`, else a guess.
#[must_use]
pub fn policy(
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    received: Timestamp,
    default_ttl: Option<Duration>,
) -> Policy {
    let received = at(received);
    let (lifetime, explicit) = if let Some(seconds) = said.s_maxage.or(said.max_age) {
        (Duration::from_secs(seconds), true)
    } else if headers.contains_key(header::EXPIRES) && !said.targeted {
        (until_expiry(headers, received), true)
    } else if let Some(ttl) = default_ttl {
        (ttl, true)
    } else {
        (guess(status, headers, said, received), false)
    };
    let ask_always = said.no_cache.is_all();
    let window = |seconds: Option<u64>| seconds.map(|seconds| Duration::from_secs(seconds).min(FOREVER));
    Policy {
        lifetime: lifetime.min(FOREVER),
        explicit,
        ask_always,
        stale_allowed: !(ask_always || said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some()),
        while_revalidate: window(said.stale_while_revalidate).unwrap_or_default(),
        if_error: window(said.stale_if_error),
        immutable: said.immutable,
    }
}

/// RFC 9110, section 15.1: statuses whose answers may be stored without being told to.
#[must_use]
pub fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111, section 4.2.2: a tenth of how long the origin has left it alone, at most a day.
fn guess(status: StatusCode, headers: &HeaderMap, said: &ResponseDirectives, received: SystemTime) -> Duration {
    if !(is_heuristic(status) || said.public) {
        return Duration::ZERO;
    }
    let now = date(headers, header::DATE).unwrap_or(received);
    let untouched = date(headers, header::LAST_MODIFIED).and_then(|modified| now.duration_since(modified).ok());
    (untouched.unwrap_or_default() / 10).min(LONGEST_GUESS)
}

/// RFC 9111, section 4.2.3: `corrected_initial_age`.
#[must_use]
pub fn initial_age(headers: &HeaderMap, received: SystemTime, response_delay: Duration) -> Duration {
    let apparent = date(headers, header::DATE).and_then(|date| received.duration_since(date).ok()).unwrap_or_default();
    // The first of several counts, and one that cannot be read does not (section 5.1).
    let told = headers.get(header::AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.split(',').next());
    let told = told.and_then(|age| delta_seconds(age.trim())).unwrap_or(0);
    apparent.max(Duration::from_secs(told) + response_delay).min(OLDEST)
}

/// An unreadable `Expires`, or a second one, means already stale (RFC 9111, section 5.3).
fn until_expiry(headers: &HeaderMap, received: SystemTime) -> Duration {
    if headers.get_all(header::EXPIRES).iter().count() > 1 {
        return Duration::ZERO;
    }
    let from = date(headers, header::DATE).unwrap_or(received);
    date(headers, header::EXPIRES).and_then(|expires| expires.duration_since(from).ok()).unwrap_or_default()
}

/// An HTTP date; none where it is absent or unreadable.
#[must_use]
pub fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// RFC 9111, section 1.2.2: a number too large counts as the largest.
#[must_use]
pub fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX).min(OLDEST.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Fri, 20 Nov 2026 09:00:00 GMT";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn now() -> Timestamp {
        let since = httpdate::parse_http_date(NOW).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap()).unwrap()
    }

    fn of(status: u16, pairs: &[(&'static str, &str)], default_ttl: Option<Duration>) -> Policy {
        let headers = headers(pairs);
        let said = ResponseDirectives::of(&headers);
        policy(StatusCode::from_u16(status).unwrap(), &headers, &said, now(), default_ttl)
    }

    #[test]
    fn rfc9111_4_2_1_lifetime() {
        for (pairs, seconds, explicit, stale) in [
            (vec![], 0, false, true),
            (vec![("cache-control", "max-age=60")], 60, true, true),
            (vec![("cache-control", "max-age=60, s-maxage=\"5\"")], 5, true, false),
            (vec![("cache-control", "MAX-AGE=60,Must-Revalidate")], 60, true, false),
            (vec![("cache-control", "no-cache, max-age=60")], 60, true, false),
            (vec![("cache-control", "max-age=99999999999999999999")], 31_536_000, true, true),
            (vec![("cache-control", "max-age=-1")], 0, true, true),
            (vec![("expires", "Fri, 20 Nov 2026 09:01:00 GMT")], 60, true, true),
            (
                vec![("expires", "Fri, 20 Nov 2026 09:01:00 GMT"), ("date", "Fri, 20 Nov 2026 08:59:00 GMT")],
                120,
                true,
                true,
            ),
            (vec![("expires", "0")], 0, true, true),
            (vec![("expires", "0"), ("cache-control", "max-age=7")], 7, true, true),
            (vec![("cdn-cache-control", "x"), ("expires", "Fri, 20 Nov 2026 09:01:00 GMT")], 0, false, true),
        ] {
            let found = of(200, &pairs, None);
            let told = (found.lifetime.as_secs(), found.explicit, found.stale_allowed);
            assert_eq!(told, (seconds, explicit, stale), "{pairs:?}");
        }
        assert_eq!(of(200, &[], Some(Duration::from_secs(9))).lifetime.as_secs(), 9);
    }

    #[test]
    fn rfc9111_4_2_2_heuristic() {
        let modified = ("last-modified", "Fri, 20 Nov 2026 08:50:00 GMT");
        for status in [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(of(status, &[modified], None).lifetime.as_secs(), 60, "{status}");
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 599] {
            assert_eq!(of(status, &[modified], None).lifetime.as_secs(), 0, "{status}");
            let public = [modified, ("cache-control", "public")];
            assert_eq!(of(status, &public, None).lifetime.as_secs(), 60, "{status}");
        }
        assert_eq!(of(200, &[("last-modified", "Fri, 20 Nov 2020 09:00:00 GMT")], None).lifetime, LONGEST_GUESS);
        assert_eq!(of(200, &[("last-modified", "Fri, 20 Nov 2036 09:00:00 GMT")], None).lifetime, Duration::ZERO);
    }

    #[test]
    fn rfc9111_4_2_3_age() {
        let later = at(now()) + Duration::from_secs(30);
        let age =
            |pairs: &[(&'static str, &str)]| initial_age(&headers(pairs), later, Duration::from_secs(2)).as_secs();
        assert_eq!(age(&[]), 2);
        assert_eq!(age(&[("age", "10")]), 12);
        assert_eq!(age(&[("age", "10"), ("date", NOW)]), 30);
        assert_eq!(age(&[("age", "ten"), ("date", "Fri, 20 Nov 2026 10:00:00 GMT")]), 2);
        assert_eq!(age(&[("age", "10, 20")]), 12);
        assert_eq!(age(&[("age", "40000000")]), 40_000_002);
        assert_eq!(age(&[("age", "99999999999999999999")]), 1 << 31);
        assert_eq!(age(&[("age", "-1")]), 2);
    }

    #[test]
    fn rfc5861_windows() {
        let after = |seconds: i64| now().saturating_add_millis(seconds * 1000);
        let life =
            |pairs: &[(&'static str, &str)]| Life::new(of(200, pairs, None), &headers(pairs), now(), Duration::ZERO, 0);
        let windows = life(&[("cache-control", "max-age=1, stale-while-revalidate=5, stale-if-error=9")]);
        assert!(windows.is_fresh(after(0)) && !windows.is_fresh(after(1)));
        assert!(windows.may_wait(after(5)) && !windows.may_wait(after(6)));
        assert!(windows.may_stand_in(after(9), true) && !windows.may_stand_in(after(10), false));
        let silent = life(&[("cache-control", "max-age=1")]);
        assert!(
            !silent.may_wait(after(1)) && silent.may_stand_in(after(9), false) && !silent.may_stand_in(after(9), true)
        );
        let strict =
            life(&[("cache-control", "max-age=1, must-revalidate, stale-while-revalidate=5, stale-if-error=5")]);
        assert!(!strict.may_wait(after(2)) && !strict.may_stand_in(after(2), true));
        assert!(!life(&[("cache-control", "no-cache, max-age=60")]).is_fresh(after(0)));
    }
}
