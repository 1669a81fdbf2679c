//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt;

/// Exponential backoff with full jitter: the n-th wait is uniform between 0 and `base * 2^n`, at most `cap`.
///
/// For what is transient only; bad data is not retried. Full jitter keeps a crowd that failed together
/// from coming back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// Goes on after this many failures, where their count was kept elsewhere.
    #[must_use]
    pub fn after(mut self, attempts: u32) -> Self {
        self.attempt = attempts;
        self
    }

    /// The next wait.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// Sleeps for the next wait.
    pub async fn wait(&mut self) {
        let delay = self.next_delay();
        tokio::time::sleep(delay).await;
    }

    /// After a success: the next failure starts small again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    fn ceiling(&self) -> Duration {
        // Past 2^20 the cap has long been reached; more would only overflow.
        self.base.saturating_mul(1 << self.attempt.min(20)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        for n in 0..200u32 {
            let ceiling = Duration::from_millis(100 * (1 << n.min(20))).min(Duration::from_secs(30));
            assert!(backoff.next_delay() <= ceiling);
        }
        assert_eq!(backoff.attempts(), 200);
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
