//! Memory for small bodies, apart from everything else that is allocated.
//!
//! Between the allocator's other things they would leave holes that nothing but other small bodies fits into: a cache
//! that turns from many small bodies to few large ones would take the memory of both. Here a slab holds bodies of one
//! size, slabs are taken from the lowest on, and those at the end are given back to the system, a huge page at a time:
//! one entry of the processor's address cache serves thousands of bodies.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use super::places::Places;

/// The most bytes of a body; [`super::pages`] takes larger ones.
pub(super) const MOST: usize = 32 << 10;

/// The size of the smallest places. From here on there are eight sizes to each doubling, so that at most an eighth of a
/// place is lost.
const LEAST: usize = 64;
const CLASSES: usize = 73;

const SLAB: usize = 256 << 10;
/// A huge page of most systems.
const EXTENT: usize = 2 << 20;
/// Slabs of an extent.
const SLABS: u32 = (EXTENT / SLAB) as u32;

#[derive(Debug)]
pub(super) struct Slabs {
    map: MmapRaw,
    /// Where in the mapping the first extent begins.
    base: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of each class, the slabs that have a place to give.
    with_room: Vec<BTreeSet<u32>>,
    slabs: Vec<Slab>,
    /// Those of `slabs` that are of no class now.
    free: BTreeSet<u32>,
    /// Of these, how many still have their memory.
    idle: usize,
    /// So many may.
    most_idle: usize,
    /// How many slabs there is address space for.
    all: u32,
}

#[derive(Debug)]
struct Slab {
    class: usize,
    places: Places,
    /// It may have memory.
    resident: bool,
}

/// What is to be given back to the system: slabs, of which this is the first one.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    first: u32,
    count: u32,
}

/// The class of the smallest places that take so many bytes, and their size.
fn class(bytes: usize) -> (usize, usize) {
    let last = bytes.max(LEAST) - 1;
    let shift = (usize::BITS - last.leading_zeros()) as usize - 4;
    let eighths = last >> shift;
    (shift * 8 + eighths - 31, (eighths + 1) << shift)
}

/// Bytes that a body takes here.
#[must_use]
pub(super) fn taken(bytes: usize) -> usize {
    class(bytes).1
}

impl Slabs {
    /// Room for as many bytes and as many again, in whatever sizes. Takes address space, and memory only as it is used.
    ///
    /// # Errors
    /// When the system has too little address space.
    pub(super) fn new(budget: u64) -> io::Result<Arc<Self>> {
        let extents = usize::try_from(budget.div_ceil(EXTENT as u64)).unwrap_or(usize::MAX).max(1).saturating_mul(2);
        let map =
            MmapOptions::new().len(extents.saturating_add(1).saturating_mul(EXTENT)).no_reserve_swap().map_anon()?;
        // Without them it is slower and takes no more.
        let _ = map.advise(Advice::HugePage);
        let base = map.as_ptr().addr().next_multiple_of(EXTENT) - map.as_ptr().addr();
        let all = u32::try_from(extents).unwrap_or(u32::MAX).saturating_mul(SLABS);
        let state = Mutex::new(State::new(all, (all / 32).max(SLABS) as usize));
        Ok(Arc::new(Self { map: MmapRaw::from(map), base, state }))
    }

    /// A copy of these, one behind another; none where they are too many or there is no room.
    #[must_use]
    pub(super) fn keep<'a>(self: &Arc<Self>, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Bytes> {
        let length = parts.clone().map(<[u8]>::len).sum();
        if length == 0 || length > MOST {
            return None;
        }
        let (class, size) = class(length);
        let (slab, place) = self.state().take(class, size)?;
        let start = slab as usize * SLAB + place as usize * size;
        let mut at = start;
        for part in parts {
            self.write(at, part);
            at += part.len();
        }
        Some(Bytes::from_owner(Kept { slabs: self.clone(), start, length }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(unsafe_code, reason = "places are of one owner each, which no borrow of the whole can say")]
    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(self.base + at + bytes.len() <= self.map.len(), "past the end");
        // SAFETY: it lies in the mapping, and in a place that was taken and that nobody has been handed yet.
        unsafe {
            let to = self.map.as_mut_ptr().add(self.base + at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    #[allow(unsafe_code, reason = "as in `write`")]
    fn read(&self, at: usize, length: usize) -> &[u8] {
        assert!(self.base + at + length <= self.map.len(), "past the end");
        // SAFETY: it lies in the mapping, which is all zeros or what was written, and who asks has the place: as long as
        // it lives nobody writes there.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.base + at), length) }
    }

    #[allow(unsafe_code, reason = "what the system takes reads as zeros from then on")]
    fn release(&self, release: &Release) {
        let (start, length) = (release.first as usize * SLAB, release.count as usize * SLAB);
        // SAFETY: all of its slabs are free, which nobody can change meanwhile: the state is locked.
        let released = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, self.base + start, length) };
        if let Err(error) = released {
            tracing::warn!(%error, "the system does not take back memory of the cache");
        }
    }

    fn give_back(&self, start: usize, length: usize) {
        let mut state = self.state();
        let slab = u32::try_from(start / SLAB).expect("as many as were taken");
        let place = u32::try_from(start % SLAB / taken(length)).expect("a slab is small");
        if let Some(release) = state.give_back(slab, place) {
            self.release(&release);
        }
    }
}

impl State {
    fn new(all: u32, most_idle: usize) -> Self {
        let with_room = vec![BTreeSet::new(); CLASSES];
        Self { with_room, slabs: Vec::new(), free: BTreeSet::new(), idle: 0, most_idle, all }
    }

    fn take(&mut self, class: usize, size: usize) -> Option<(u32, u32)> {
        let number = match self.with_room[class].first() {
            Some(number) => *number,
            None => self.new_slab(class, size)?,
        };
        let places = &mut self.slabs[number as usize].places;
        let place = places.take().expect("it has room");
        if places.are_all_taken() {
            self.with_room[class].remove(&number);
        }
        Some((number, place))
    }

    fn new_slab(&mut self, class: usize, size: usize) -> Option<u32> {
        let places = Places::new(u32::try_from(SLAB / size).expect("a slab is small"));
        let number = if let Some(number) = self.free.pop_first() {
            let before = &mut self.slabs[number as usize];
            self.idle -= usize::from(before.resident);
            *before = Slab { class, places, resident: true };
            number
        } else {
            let number = u32::try_from(self.slabs.len()).ok().filter(|number| *number < self.all)?;
            self.slabs.push(Slab { class, places, resident: true });
            number
        };
        self.with_room[class].insert(number);
        Some(number)
    }

    fn give_back(&mut self, number: u32, place: u32) -> Option<Release> {
        let slab = &mut self.slabs[number as usize];
        slab.places.give_back(place);
        if !slab.places.is_none_taken() {
            self.with_room[slab.class].insert(number);
            return None;
        }
        self.with_room[slab.class].remove(&number);
        self.free.insert(number);
        self.idle += 1;
        let extent = number / SLABS * SLABS;
        if self.free.range(extent..extent + SLABS).count() == SLABS as usize {
            return Some(self.released(extent, SLABS));
        }
        (self.idle > self.most_idle).then(|| self.released(number, 1))
    }

    /// These have no memory any more, once the system has been told.
    fn released(&mut self, first: u32, count: u32) -> Release {
        for slab in &mut self.slabs[first as usize..(first + count) as usize] {
            self.idle -= usize::from(slab.resident);
            slab.resident = false;
        }
        Release { first, count }
    }
}

/// A place that is taken.
struct Kept {
    slabs: Arc<Slabs>,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.slabs.read(self.start, self.length)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.slabs.give_back(self.start, self.length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resident(slabs: &Slabs) -> usize {
        let state = slabs.state();
        let held = state.slabs.iter().filter(|slab| slab.resident).count();
        assert_eq!(state.idle, state.free.iter().filter(|free| state.slabs[**free as usize].resident).count());
        held
    }

    #[test]
    fn classes_are_in_order_and_lose_little() {
        for bytes in 1..=MOST {
            let (number, size) = class(bytes);
            assert!(size >= bytes && size - bytes <= (bytes / 8).max(LEAST) && number < CLASSES, "{bytes}");
            assert!(class(size) == (number, size) && class(size + 1).0 == number + 1, "{bytes}");
        }
        assert_eq!((class(1), class(MOST)), ((0, LEAST), (CLASSES - 1, MOST)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Bodies come and go; each is what it was as long as it is held.
        #[test]
        fn nobody_gets_the_bytes_of_another(steps in proptest::collection::vec((0..40_usize, 1..MOST + 100), 1..300)) {
            let slabs = Slabs::new(4 << 20).unwrap();
            let mut held: Vec<Option<(u8, Bytes)>> = vec![None; 40];
            for (n, (at, length)) in steps.into_iter().enumerate() {
                let byte = (n % 251) as u8;
                let (half, rest) = (vec![byte; length / 2], vec![byte; length - length / 2]);
                let kept = slabs.keep([&half[..], &rest[..]].into_iter());
                prop_assert_eq!(kept.as_ref().map(Bytes::len), (length <= MOST).then_some(length));
                held[at] = kept.map(|kept| (byte, kept.slice(1.min(length - 1)..)));
                let next = &held[(at + n) % held.len()];
                prop_assert!(next.iter().all(|(byte, bytes)| bytes.iter().all(|held| held == byte)));
            }
            for (byte, bytes) in held.iter().flatten() {
                prop_assert!(bytes.iter().all(|held| held == byte));
            }
            held.clear();
            prop_assert!(resident(&slabs) <= SLABS as usize + slabs.state().most_idle);
        }
    }

    #[test]
    fn what_is_given_back_is_used_again_in_other_sizes() {
        let slabs = Slabs::new(EXTENT as u64).unwrap();
        let fill = |size: usize| -> Vec<Bytes> {
            std::iter::from_fn(|| slabs.keep([&vec![7; size][..]].into_iter())).collect()
        };
        for size in [1024, 64, MOST, 30_000] {
            let all = fill(size);
            assert_eq!(all.len(), 2 * SLABS as usize * (SLAB / taken(size)), "{size}");
            assert_eq!(resident(&slabs), 2 * SLABS as usize);
            drop(all);
            assert_eq!(resident(&slabs), 0);
        }
    }

    #[test]
    fn memory_goes_back_with_the_bodies() {
        let slabs = Slabs::new(64 << 20).unwrap();
        let body = [1; 1000];
        let mut held: Vec<Bytes> = (0..20_000).filter_map(|_| slabs.keep([&body[..]].into_iter())).collect();
        let full = resident(&slabs);
        held.drain(..19_000);
        assert!(resident(&slabs) <= full / 16 + slabs.state().most_idle, "{} of {full}", resident(&slabs));
        assert!(held.iter().all(|bytes| bytes[..] == body));
    }

    #[test]
    fn a_slab_that_one_body_holds_does_not_hold_its_neighbours() {
        let mut state = State::new(64, 2);
        let (class, size) = class(SLAB / 8);
        let taken: Vec<_> = (0..64 * 8).map(|_| state.take(class, size).unwrap()).collect();
        assert!(state.take(class, size).is_none());
        let mut given = Vec::new();
        // One body stays in each extent.
        for (slab, place) in taken.into_iter().filter(|(slab, place)| *place > 0 || *slab % SLABS > 0) {
            given.extend(state.give_back(slab, place));
        }
        assert_eq!((state.idle, given.len()), (2, 7 * 8 - 2));
        assert!(given.iter().all(|release| release.count == 1 && release.first % SLABS > 0));
        let last = state.give_back(0, 0).unwrap();
        assert_eq!(last, Release { first: 0, count: SLABS });
    }
}
