//! How fast an order may ask the origin.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes a second that all keys of an order share.
#[derive(Debug)]
pub struct Pace {
    per_s: Option<NonZeroU64>,
    /// When what was asked for so far will have been due.
    due: Mutex<Instant>,
}

impl Pace {
    /// 0 is as fast as it goes.
    #[must_use]
    pub fn new(bytes_per_s: u64) -> Self {
        Self { per_s: NonZeroU64::new(bytes_per_s), due: Mutex::new(Instant::now()) }
    }

    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.per_s.is_some()
    }

    /// Waits for the turn of so many bytes.
    pub async fn turn(&self, bytes: u64) {
        let begin = self.reserve(bytes, Instant::now());
        tokio::time::sleep_until(begin.into()).await;
    }

    /// When so many bytes may be asked for. Time in which nothing was asked for is not saved up.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let Some(per_s) = self.per_s else { return now };
        #[allow(clippy::cast_precision_loss, reason = "a duration needs no more")]
        let takes = Duration::from_secs_f64(bytes as f64 / per_s.get() as f64);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*due).max(now);
        *due = begin + takes;
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_far_apart_as_their_bytes() {
        let (pace, begun) = (Pace::new(1000), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(pace.reserve(500, begun), begun);
        assert_eq!(pace.reserve(500, begun), begun + Duration::from_millis(500));
        assert_eq!(pace.reserve(500, begun), after(1));
        assert_eq!(
            (pace.reserve(500, after(9)), pace.reserve(1, after(8))),
            (after(9), after(9) + Duration::from_millis(500))
        );
        assert_eq!(Pace::new(0).reserve(u64::MAX, begun), begun);
    }
}
