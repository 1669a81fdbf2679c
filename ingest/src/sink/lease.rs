//! How long an insert may believe that its partition is still this sink's.
//!
//! A process that was stopped and goes on finds its inserts where they were, hours later perhaps, when
//! ClickHouse has long forgotten their tokens. So an attempt begins only under a fresh affirmation: the mover
//! commits the announcement again, which Kafka refuses to whoever has lost the partition.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// As long as Kafka waits for a silent member before it gives its partitions away.
pub(super) const LASTS: Duration = Duration::from_secs(10);

/// The mover's side.
#[derive(Debug)]
pub(super) struct Affirmations(watch::Sender<Instant>);

/// The insert's side.
#[derive(Debug, Clone)]
pub(super) struct Lease(watch::Receiver<Instant>);

impl Affirmations {
    pub(super) fn new(now: Instant) -> Self {
        Self(watch::Sender::new(now))
    }

    /// Kafka took a commit of this partition at `now`.
    pub(super) fn affirm(&self, now: Instant) {
        self.0.send_replace(now);
    }

    pub(super) fn lease(&self) -> Lease {
        Lease(self.0.subscribe())
    }
}

impl Lease {
    /// Waits until the partition is known to be ours. For ever, where it no longer is: the task ends with it.
    pub(super) async fn hold(&mut self) {
        let gone = self.0.wait_for(|affirmed| affirmed.elapsed() < LASTS).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_old_affirmation_is_none() {
        let now = Instant::now();
        let Some(long_ago) = now.checked_sub(LASTS) else { return };
        let affirmations = Affirmations::new(long_ago);
        let mut lease = affirmations.lease();
        assert!(lease.hold().now_or_never().is_none());
        affirmations.affirm(now);
        lease.hold().await;
        affirmations.affirm(long_ago);
        drop(affirmations);
        assert!(lease.hold().now_or_never().is_none());
    }
}
