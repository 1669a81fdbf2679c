//! What is let in where there is more to do than can be done: hits before misses, and of misses the cheap
//! ones.
//!
//! A hit asks for nothing here: it holds its connection, of which there is a bounded number, and some memory
//! that is there already. What must wait for the origin holds its connection for long; without a bound, a
//! slow origin would take all of them, and hits would find none. So a miss needs room while it waits for its
//! first bytes, by its cost: who joins a question that is under way costs one unit, who asks a new one more,
//! by what is asked for. What finds no room is answered 503 at once. The fuller the edge, the dearer a new
//! question ([`Pressure`]), until there are none; who joins one is let in as long as there is room.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::library::wish::Wants;
use crate::range::RangeSpec;

/// What a new question costs beside what it asks for: as much as so many listeners who wait for one.
const QUESTION: u32 = 16;
/// Of bytes asked for, a unit each MiB; a run of a fill is no longer.
const MOST_MIB: u64 = 32;

/// How full the edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    /// New questions cost twice as much.
    High,
    /// There are no new questions.
    Critical,
}

/// Shares of what there is, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    pub connections: f64,
    pub cpu: f64,
    pub memory: f64,
}

impl Shares {
    /// A busy CPU alone is no reason to refuse: what it does may be hits, and questions cost it little.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        match self {
            _ if self.connections >= 0.95 || self.memory >= 0.95 => Pressure::Critical,
            _ if self.connections >= 0.8 || self.memory >= 0.9 || self.cpu >= 0.95 => Pressure::High,
            _ => Pressure::None,
        }
    }
}

/// Units of what waits; none where it may not.
#[must_use]
pub fn cost(wants: Wants, joins: bool, pressure: Pressure) -> Option<u32> {
    if joins {
        return Some(1);
    }
    let bytes = match wants {
        Wants::Head => 0,
        Wants::Whole => u64::MAX,
        Wants::Part(RangeSpec::From { first, last }) => last.map_or(u64::MAX, |last| last.saturating_sub(first)),
        Wants::Part(RangeSpec::Suffix(bytes)) => bytes,
    };
    let units = QUESTION + u32::try_from((bytes >> 20).min(MOST_MIB)).expect("at most 32");
    match pressure {
        Pressure::None => Some(units),
        Pressure::High => Some(2 * units),
        Pressure::Critical => None,
    }
}

#[derive(Debug)]
pub struct Admission {
    units: u32,
    room: Semaphore,
    pressure: AtomicU8,
}

impl Admission {
    /// With room for so many units.
    #[must_use]
    pub fn new(units: u32) -> Self {
        Self { units, room: Semaphore::new(units as usize), pressure: AtomicU8::new(0) }
    }

    pub fn press(&self, pressure: Pressure) {
        self.pressure.store(pressure as u8, Relaxed);
    }

    #[must_use]
    pub fn pressure(&self) -> Pressure {
        [Pressure::None, Pressure::High, Pressure::Critical][usize::from(self.pressure.load(Relaxed))]
    }

    /// Share of the room that is taken, 0 to 1.
    #[must_use]
    pub fn taken(&self) -> f64 {
        let left = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        1.0 - f64::from(left) / f64::from(self.units.max(1))
    }

    /// Room for as long as it waits. None where there is none.
    #[must_use]
    pub fn admit(&self, wants: Wants, joins: bool) -> Option<SemaphorePermit<'_>> {
        self.room.try_acquire_many(cost(wants, joins, self.pressure())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> Wants {
        Wants::Part(RangeSpec::From { first, last: Some(last) })
    }

    #[test]
    fn cheap_ones_find_room_where_dear_ones_do_not() {
        let none = Pressure::None;
        assert_eq!((cost(Wants::Whole, true, none), cost(Wants::Head, false, none)), (Some(1), Some(16)));
        assert_eq!((cost(part(0, 65_535), false, none), cost(Wants::Whole, false, none)), (Some(16), Some(48)));
        assert_eq!(cost(part(0, 4 << 20), false, none), Some(20));
        assert_eq!(cost(Wants::Part(RangeSpec::Suffix(u64::MAX)), false, Pressure::High), Some(96));
        assert_eq!(cost(Wants::Head, false, Pressure::Critical), None);
        assert_eq!(cost(Wants::Head, true, Pressure::Critical), Some(1));
        let admission = Admission::new(50);
        let whole = admission.admit(Wants::Whole, false).unwrap();
        assert!(admission.admit(Wants::Head, false).is_none() && admission.admit(Wants::Whole, true).is_some());
        assert!((admission.taken() - 0.96).abs() < 1e-9);
        drop(whole);
        assert!(admission.admit(Wants::Head, false).is_some());
        admission.press(Pressure::Critical);
        assert!(admission.admit(Wants::Head, false).is_none());
    }

    #[test]
    fn pressure_is_of_what_runs_out() {
        let with = |connections, cpu, memory| Shares { connections, cpu, memory }.pressure();
        assert_eq!(with(0.7, 0.9, 0.8), Pressure::None);
        assert_eq!((with(0.8, 0.0, 0.0), with(0.0, 0.95, 0.0), with(0.0, 0.0, 0.9)), {
            (Pressure::High, Pressure::High, Pressure::High)
        });
        assert_eq!((with(0.95, 0.0, 0.0), with(0.0, 1.0, 0.95)), (Pressure::Critical, Pressure::Critical));
    }
}
