//! Whether the mover comes round. Some of its calls wait for Kafka, and while they do it cannot say so itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::Health;
use service::health::Status;

/// A call that waits for so long is told by health.
const SLOW: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the mover last came round; none before it had something to do.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    pub(super) fn beat(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn is_missed(&self, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now.saturating_duration_since(last) >= SLOW)
    }

    /// Tells health while there is no beat; what the mover says when it is back replaces that.
    pub(super) async fn watch(&self, health: &Health) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.is_missed(Instant::now()) {
                let reason = "a call to it waits for its answer; nothing is moved meanwhile";
                health.set("kafka", Status::Degraded(reason.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pulse_that_stops_is_missed() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        assert!(!pulse.is_missed(start + 2 * SLOW), "there was none yet");
        for nth in 0..10 {
            pulse.beat(start + nth * SLOW / 2);
            assert!(!pulse.is_missed(start + (nth + 1) * SLOW / 2));
        }
        assert!(pulse.is_missed(start + 6 * SLOW));
        pulse.beat(start + 7 * SLOW);
        assert!(!pulse.is_missed(start + 7 * SLOW));
    }
}
