//! Which places are free: a stack that all serving threads take from and give to without a lock.
//!
//! The one given back last is taken first, so that few pages are ever touched.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

const END: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Free {
    /// The top, below a count of changes: a top that is the same again is not taken for one that has not changed.
    top: AtomicU64,
    /// Of each free place, the one below it.
    below: Vec<AtomicU32>,
}

impl Free {
    /// All of so many places but these, which are in order; the first on top.
    pub(super) fn without(places: u32, taken: &[u32]) -> Self {
        let free =
            Self { top: AtomicU64::new(u64::from(END)), below: (0..places).map(|_| AtomicU32::new(END)).collect() };
        (0..places).rev().filter(|place| taken.binary_search(place).is_err()).for_each(|place| free.give(place));
        free
    }

    pub(super) fn take(&self) -> Option<u32> {
        let mut seen = self.top.load(Acquire);
        loop {
            let place = seen as u32;
            let below = self.below.get(place as usize)?.load(Relaxed);
            match self.top.compare_exchange_weak(seen, changed(seen, below), AcqRel, Acquire) {
                Ok(_) => return Some(place),
                Err(now) => seen = now,
            }
        }
    }

    pub(super) fn give(&self, place: u32) {
        let mut seen = self.top.load(Acquire);
        loop {
            self.below[place as usize].store(seen as u32, Relaxed);
            match self.top.compare_exchange_weak(seen, changed(seen, place), AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

fn changed(seen: u64, top: u32) -> u64 {
    ((seen >> 32).wrapping_add(1) << 32) | u64::from(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_one_owner() {
        let free = Free::without(64, &[3, 7]);
        let owned: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
        let work = || {
            for round in 0..20_000 {
                let mine: Vec<u32> = (0..round % 20).filter_map(|_| free.take()).collect();
                mine.iter().for_each(|place| assert_eq!(owned[*place as usize].fetch_add(1, AcqRel), 0));
                for place in mine {
                    owned[place as usize].store(0, Relaxed);
                    free.give(place);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
        let mut all: Vec<u32> = std::iter::from_fn(|| free.take()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).filter(|place| ![3, 7].contains(place)).collect::<Vec<u32>>());
    }
}
