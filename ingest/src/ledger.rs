//! The numbers of accepted events, `ingest_seq`: given in order, settled in any.
//!
//! A number is given once nothing can refuse its event any more, and is settled once the event is kept, by
//! Kafka or by the spool. Where both fail after all, it is void. What the numbers prove to who reads them
//! in ClickHouse, [`wire::tally`] says.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::tally::Numbers;

/// Ranges of voids that wait to be told. There are some only where Kafka and the disk fail at once, and then
/// nothing new is accepted; beyond this the count simply stays unsettled, which claims less and nothing wrong.
const VOIDS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    given: u64,
    /// The first number of every batch that is on its way.
    open: BTreeSet<u64>,
    /// Not told yet.
    voids: Vec<Numbers>,
}

/// The ledger at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) given: u64,
    pub(crate) settled: u64,
    pub(crate) voids: Vec<Numbers>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `count` numbers and returns the first.
    pub(crate) fn open(&self, count: usize) -> u64 {
        let mut entries = self.entries();
        let first = entries.given + 1;
        entries.given += count as u64;
        entries.open.insert(first);
        first
    }

    /// Every event of the batch is kept, but for those in `lost`, by their place in it.
    pub(crate) fn close(&self, first: u64, lost: &mut [u32]) {
        let mut entries = self.entries();
        if entries.void(first, lost) {
            entries.open.remove(&first);
        }
    }

    pub(crate) fn state(&self) -> State {
        let entries = self.entries();
        let settled = entries.open.first().map_or(entries.given, |first| first - 1);
        State { given: entries.given, settled, voids: entries.voids.clone() }
    }

    /// The first of the voids, so many of them, are known elsewhere.
    pub(crate) fn told(&self, voids: usize) {
        self.entries().voids.drain(..voids);
    }
}

impl Entries {
    /// False where there is no room to remember them.
    fn void(&mut self, first: u64, lost: &mut [u32]) -> bool {
        if self.voids.len() + lost.len() > VOIDS_MAX {
            return false;
        }
        lost.sort_unstable();
        let start = self.voids.len();
        for number in lost.iter().map(|place| first + u64::from(*place)) {
            match self.voids[start..].last_mut() {
                Some(range) if range.last + 1 == number => range.last = number,
                _ => self.voids.push(Numbers { first: number, last: number }),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_is_what_lies_below_every_open_batch() {
        let ledger = Ledger::default();
        let (a, b, c) = (ledger.open(3), ledger.open(1), ledger.open(10));
        assert_eq!((a, b, c), (1, 4, 5));
        ledger.close(b, &mut []);
        assert_eq!(ledger.state(), State { given: 14, settled: 0, voids: vec![] });
        ledger.close(a, &mut []);
        assert_eq!(ledger.state().settled, 4);
        ledger.close(c, &mut [9, 0, 1]);
        let voids = vec![Numbers { first: 5, last: 6 }, Numbers { first: 14, last: 14 }];
        assert_eq!(ledger.state(), State { given: 14, settled: 14, voids });
        ledger.told(1);
        assert_eq!(ledger.state().voids, [Numbers { first: 14, last: 14 }]);
    }

    #[test]
    fn voids_that_cannot_be_remembered_are_never_settled() {
        let ledger = Ledger::default();
        let first = ledger.open(VOIDS_MAX + 1);
        let mut lost: Vec<u32> = (0..).take(VOIDS_MAX + 1).collect();
        ledger.close(first, &mut lost);
        assert_eq!(ledger.state(), State { given: VOIDS_MAX as u64 + 1, settled: 0, voids: vec![] });
    }
}
