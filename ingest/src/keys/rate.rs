//! How many events a key may post: a token bucket, one a key and process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use service::Problem;
use wire::FieldError;

/// So many events each second, and so many at once after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub events_per_s: u32,
    pub burst: u32,
}

/// Names that are looked up in no table of known ones for each answer.
static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// PostgreSQL's `integer`, and more than one process can take.
const MOST: u32 = i32::MAX as u32;

impl Rate {
    pub(super) fn check(self) -> Result<(), FieldError> {
        for (field, value) in [("rate", self.events_per_s), ("burst", self.burst)] {
            if !(1..=MOST).contains(&value) {
                return Err(FieldError::new(field, format!("must be 1 to {MOST}")));
            }
        }
        Ok(())
    }

    /// `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-10 writes it: a quota of `q` events (not requests,
    /// hence `qu`) in a window of `w` seconds.
    pub(super) fn policy(self) -> HeaderValue {
        let policy = format!("\"key\";q={};w={};qu=\"events\"", self.burst, self.window_s());
        HeaderValue::try_from(policy).expect("digits and letters fit a header")
    }

    /// How long an empty bucket takes to fill, in whole seconds.
    fn window_s(self) -> u32 {
        self.burst.div_ceil(self.events_per_s)
    }
}

/// What is left in a bucket; below zero where one request took more than there was.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Level {
    fn filled(self, rate: Rate, now: Instant) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Self { tokens: (self.tokens + since * f64::from(rate.events_per_s)).min(f64::from(rate.burst)), at: now }
    }

    /// A request larger than the burst passes when the bucket is full, and leaves a debt: refused always, it
    /// could never be sent.
    fn has(self, rate: Rate, cost: u32) -> bool {
        self.tokens >= f64::from(cost.min(rate.burst))
    }

    fn wait(self, rate: Rate, cost: u32) -> Duration {
        let missing = (f64::from(cost.min(rate.burst)) - self.tokens).max(0.0);
        Duration::from_secs_f64(missing / f64::from(rate.events_per_s))
    }
}

/// Starts full.
#[derive(Debug)]
pub(super) struct Bucket(Mutex<Option<Level>>);

impl Bucket {
    pub(super) fn full() -> Self {
        Self(Mutex::new(None))
    }

    /// With what another has left: a key that is changed does not get a new bucket.
    pub(super) fn like(other: &Self) -> Self {
        Self(Mutex::new(*other.lock()))
    }

    /// Takes `cost` tokens, or none where there are too few.
    ///
    /// # Errors
    /// 429 with the time after which the same request may pass.
    pub(super) fn take(&self, rate: Rate, cost: u32, now: Instant) -> Result<(), Box<TooFast>> {
        let mut held = self.lock();
        let mut level = held.unwrap_or(Level { tokens: f64::from(rate.burst), at: now }).filled(rate, now);
        let passes = level.has(rate, cost);
        if passes {
            level.tokens -= f64::from(cost);
        }
        *held = Some(level);
        drop(held);
        let refused = || Box::new(TooFast { rate, wait: level.wait(rate, cost) });
        if passes { Ok(()) } else { Err(refused()) }
    }

    pub(super) fn allowance(&self, rate: Rate, now: Instant) -> Allowance {
        let level = self.lock().map_or(f64::from(rate.burst), |level| level.filled(rate, now).tokens);
        let missing = f64::from(rate.burst) - level;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and u32's burst")]
        let (remaining, reset_s) =
            (level.max(0.0) as u32, (missing / f64::from(rate.events_per_s)).ceil().max(0.0) as u32);
        Allowance { rate, remaining, reset_s }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Level>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that came too soon.
#[derive(Debug)]
pub(super) struct TooFast {
    rate: Rate,
    wait: Duration,
}

impl TooFast {
    pub(super) fn problem(&self) -> Problem {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a wait is short and not negative")]
        let seconds = self.wait.as_secs_f64().ceil().max(1.0) as u32;
        let Rate { events_per_s, burst } = self.rate;
        let detail =
            format!("the key may post {events_per_s} events a second, {burst} at once; try again in {seconds} s");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }
}

/// What a key may still post, for headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) rate: Rate,
    /// Events that may be posted at this moment.
    pub(crate) remaining: u32,
    /// Until as many as ever may, in seconds.
    pub(crate) reset_s: u32,
}

impl Allowance {
    /// `RateLimit` beside its policy: of the quota `r` remain, all again in `t`.
    pub(super) fn write(&self, policy: HeaderValue, headers: &mut HeaderMap) {
        let (mut remaining, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let now = ["\"key\";r=", remaining.format(self.remaining), ";t=", reset.format(self.reset_s)].concat();
        let now = HeaderValue::try_from(now).expect("digits and letters fit a header");
        headers.insert(RATELIMIT_POLICY.clone(), policy);
        headers.insert(RATELIMIT.clone(), now);
    }

    /// As ListenBrainz writes them, and as its clients wait by.
    pub(crate) fn write_as_listenbrainz(&self, headers: &mut HeaderMap, now: wire::Timestamp) {
        let reset = now.as_millis() / 1000 + i64::from(self.reset_s);
        for (name, value) in [
            ("x-ratelimit-limit", i64::from(self.rate.burst)),
            ("x-ratelimit-remaining", i64::from(self.remaining)),
            ("x-ratelimit-reset-in", i64::from(self.reset_s)),
            ("x-ratelimit-reset", reset),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { events_per_s: 10, burst: 50 };

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (bucket, start) = (Bucket::full(), Instant::now());
        assert!(bucket.take(RATE, 50, start).is_ok());
        let refused = bucket.take(RATE, 5, start).unwrap_err();
        assert_eq!(refused.wait, Duration::from_millis(500));
        assert_eq!(refused.problem().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(bucket.take(RATE, 5, after(start, 499)).is_err());
        assert!(bucket.take(RATE, 5, after(start, 500)).is_ok());
        assert!(bucket.take(RATE, 1, after(start, 500)).is_err());
    }

    #[test]
    fn a_batch_over_the_burst_passes_once_and_is_paid_for() {
        let (bucket, start) = (Bucket::full(), Instant::now());
        assert!(bucket.take(RATE, 100, start).is_ok());
        assert_eq!(bucket.allowance(RATE, start), Allowance { rate: RATE, remaining: 0, reset_s: 10 });
        assert!(bucket.take(RATE, 1, after(start, 5000)).is_err());
        assert!(bucket.take(RATE, 1, after(start, 5100)).is_ok());
        assert!(bucket.take(RATE, 100, after(start, 9000)).is_err());
    }

    #[test]
    fn over_any_time_no_more_than_the_rate_passes() {
        let (bucket, start) = (Bucket::full(), Instant::now());
        let mut passed = 0_u64;
        for ms in (0..60_000_u64).step_by(7) {
            let cost = u32::try_from(ms % 13).unwrap() + 1;
            passed += u64::from(cost) * u64::from(bucket.take(RATE, cost, after(start, ms)).is_ok());
        }
        assert!((600..=650).contains(&passed), "{passed}");
    }

    #[test]
    fn headers_as_the_draft_writes_them() {
        let mut headers = HeaderMap::new();
        Allowance { rate: RATE, remaining: 12, reset_s: 4 }.write(RATE.policy(), &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"key\";q=50;w=5;qu=\"events\"");
        assert_eq!(headers["ratelimit"], "\"key\";r=12;t=4");
    }

    #[test]
    fn a_changed_key_keeps_what_it_has_spent() {
        let (bucket, start) = (Bucket::full(), Instant::now());
        assert!(bucket.take(RATE, 50, start).is_ok());
        assert!(Bucket::like(&bucket).take(RATE, 1, start).is_err());
    }
}
