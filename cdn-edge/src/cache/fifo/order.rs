//! The order in which values go: a short queue for what is new, a long one for what has proved its worth, and the
//! hashes of those that went from the short one, which are worth more when they come back.

use std::collections::VecDeque;

/// The short queue's share of the budget: a tenth.
const SMALL_SHARE: u64 = 10;

/// Hashes are remembered from the start on for so many, and later for as many as there are values.
const LEAST_GHOSTS: usize = 1 << 10;

/// A value's place in a queue; of its own for as long as four billion others come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) hash: u32,
    ticket: u32,
}

#[derive(Debug, Default)]
struct Queue {
    /// Also of values that have been removed since.
    places: VecDeque<Place>,
    weight: u64,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    next_ticket: u32,
    values: usize,
}

impl Order {
    fn queue(&mut self, is_main: bool) -> &mut Queue {
        if is_main { &mut self.main } else { &mut self.small }
    }

    /// The place of a new value, and whether it is in the long queue.
    pub(super) fn add(&mut self, hash: u32, weight: u32) -> (Place, bool) {
        let (place, is_main) = (Place { hash, ticket: self.next_ticket }, self.ghosts.take(hash));
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.values += 1;
        let queue = self.queue(is_main);
        queue.places.push_back(place);
        queue.weight += u64::from(weight);
        (place, is_main)
    }

    pub(super) fn weigh_again(&mut self, is_main: bool, before: u32, now: u32) {
        let queue = self.queue(is_main);
        queue.weight = queue.weight - u64::from(before) + u64::from(now);
    }

    /// A value was removed; its place stays until its turn comes.
    pub(super) fn forget(&mut self, is_main: bool, weight: u32) {
        self.values -= 1;
        self.queue(is_main).weight -= u64::from(weight);
    }

    /// Whose turn it is, and whether that is in the long queue; none where all fit.
    pub(super) fn next_out(&mut self, budget: u64) -> Option<(Place, bool)> {
        if self.weight() <= budget {
            return None;
        }
        let from_main = self.small.weight <= budget / SMALL_SHARE && self.main.weight > 0;
        let place = self.queue(from_main).places.pop_front()?;
        Some((place, from_main))
    }

    /// Back to the end of the long queue, out of which it came.
    pub(super) fn put_back(&mut self, place: Place) {
        self.main.places.push_back(place);
    }

    pub(super) fn promote(&mut self, place: Place, weight: u32) {
        self.small.weight -= u64::from(weight);
        self.main.weight += u64::from(weight);
        self.main.places.push_back(place);
    }

    pub(super) fn evict(&mut self, place: Place, is_main: bool, weight: u32) {
        self.forget(is_main, weight);
        if !is_main {
            self.ghosts.remember(place.hash, self.values);
        }
    }

    /// Leaves out the places of what was removed, once they are the most.
    pub(super) fn tidy(&mut self, is_held: impl Fn(Place) -> bool) {
        if self.queued() > 2 * self.values + 1024 {
            self.small.places.retain(|place| is_held(*place));
            self.main.places.retain(|place| is_held(*place));
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.small.places.len() + self.main.places.len()
    }

    pub(super) fn len(&self) -> usize {
        self.values
    }

    pub(super) fn weight(&self) -> u64 {
        self.small.weight + self.main.weight
    }
}

/// Hashes that went: each at the one place that it can have, where it stays until another takes that. 0 is none.
#[derive(Debug, Default)]
struct Ghosts(Vec<u32>);

impl Ghosts {
    fn at(&mut self, hash: u32) -> Option<&mut u32> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get_mut(hash as usize & last)
    }

    /// Whether it is remembered, which it is not any more.
    fn take(&mut self, hash: u32) -> bool {
        let Some(ghost) = self.at(hash).filter(|ghost| **ghost == hash && hash != 0) else { return false };
        *ghost = 0;
        true
    }

    fn remember(&mut self, hash: u32, values: usize) {
        if self.0.len() < values.max(LEAST_GHOSTS) {
            let more = vec![0; values.max(LEAST_GHOSTS).next_power_of_two()];
            let before = std::mem::replace(&mut self.0, more);
            before.into_iter().for_each(|hash| self.put(hash));
        }
        self.put(hash);
    }

    fn put(&mut self, hash: u32) {
        if let Some(ghost) = self.at(hash).filter(|_| hash != 0) {
            *ghost = hash;
        }
    }
}
