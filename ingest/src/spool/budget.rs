//! How many bytes the spool may come to hold: an event gets its number only when there is room for it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that may wait for the disk. They are memory.
const QUEUE_BYTES: u64 = 48 << 20;
/// What Kafka does not acknowledge in time goes to the spool even when that is full: at most as much
/// as the producer's queue holds, with the records' own overhead.
pub(crate) const PRODUCER_BYTES: u64 = 64 << 20;
const OVERFLOW: u64 = PRODUCER_BYTES * 5 / 4;

#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    /// On disk.
    stored: AtomicU64,
    /// On the way to the disk.
    queued: AtomicU64,
    /// On the way to Kafka.
    direct: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, stored: AtomicU64::new(0), queued: AtomicU64::new(0), direct: AtomicU64::new(0) }
    }

    /// Room on disk, which [`Budget::written`] gives back.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let queued = self.queued.fetch_add(bytes, Relaxed) + bytes;
        let fits = queued <= QUEUE_BYTES && self.stored.load(Relaxed) + queued <= self.max;
        if !fits {
            self.queued.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    /// Room for what Kafka may refuse, which [`Budget::answered`] gives back.
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        let direct = self.direct.fetch_add(bytes, Relaxed) + bytes;
        let fits = self.stored.load(Relaxed) + self.queued.load(Relaxed) + direct <= self.max + OVERFLOW;
        if !fits {
            self.direct.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    /// For an event that has its number: it was lent room before.
    pub(crate) fn queue(&self, bytes: u64) {
        self.queued.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn written(&self, bytes: u64) {
        self.queued.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn answered(&self, bytes: u64) {
        self.direct.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn store(&self, bytes: u64) {
        self.stored.store(bytes, Relaxed);
    }

    /// Whether a record of some size would find no room.
    pub(crate) fn is_full(&self) -> bool {
        const SOME: u64 = 4096;
        self.stored.load(Relaxed) + self.queued.load(Relaxed) + SOME > self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let budget = Budget::new(10_000);
        assert!(budget.reserve(6000) && !budget.reserve(5000) && budget.reserve(4000));
        budget.written(6000);
        budget.store(6000);
        assert!(budget.is_full() && !budget.reserve(1) && budget.lend(OVERFLOW) && !budget.lend(1));
        budget.answered(OVERFLOW);
        budget.written(4000);
        budget.store(0);
        assert!(!budget.is_full() && budget.reserve(10_000));
    }

    #[test]
    fn memory_is_bounded_on_the_largest_disk() {
        let budget = Budget::new(u64::MAX / 2);
        assert!(budget.reserve(QUEUE_BYTES) && !budget.reserve(1));
    }
}
