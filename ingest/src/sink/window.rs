//! The ids that the last offsets of a partition brought, so that what a client sends again is known.
//!
//! An id is a repeat when one of the `within` offsets before it was stored under the same id. Nothing else
//! goes into that, no clock and no border of a batch, so who replays a range decides as the first one did.
//! Ids are kept whole: two of them are never taken for one. An id whose row ClickHouse refused counts as well,
//! except for the letter itself, when an operator sends it again: that one is to be stored.
//!
//! Memory: 16 bytes an offset, and 5 to 10 for the table that finds an id.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use uuid::Uuid;

/// An id that stands in ClickHouse, as [`super::recall`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub(super) offset: i64,
    pub(super) id: Uuid,
    /// It is not in its table but among the dead letters.
    pub(super) refused: bool,
}

#[derive(Debug)]
pub(super) struct Window {
    /// What an offset brought, in the slot that is the offset modulo the length.
    ids: Vec<u128>,
    /// The slots whose id counts, found by the id.
    slots: HashTable<u32>,
    /// Clients choose ids: without a key of our own they could make them collide.
    keyed: RandomState,
    /// Offsets whose id counts although no row came of it.
    refused: BTreeSet<i64>,
    /// The offset after the last one.
    next: i64,
}

impl Window {
    /// For looking back over `within` offsets at most.
    pub(super) fn new(within: u32) -> Self {
        // One more: an offset may not take the slot of the oldest one that it still looks at.
        let ids = vec![0; within as usize + 1];
        Self { ids, slots: HashTable::new(), keyed: RandomState::new(), refused: BTreeSet::new(), next: 0 }
    }

    /// As it stood before `next`, with what ClickHouse knows of the offsets before it.
    pub(super) fn recalled(within: u32, mut known: Vec<Known>, next: i64) -> Self {
        known.sort_unstable();
        let mut window = Self::new(within);
        for Known { offset, id, refused } in known {
            window.pass(offset);
            window.remember(id.as_u128());
            if refused {
                window.refuse(offset);
            }
        }
        window.pass(next - 1);
        window
    }

    /// Moves on to an offset, and forgets what lies too far behind it.
    pub(super) fn pass(&mut self, offset: i64) {
        if offset + 1 < self.next {
            // The topic was made anew: what was before says nothing of it.
            self.slots.clear();
            self.refused.clear();
        }
        let length = self.ids.len() as i64;
        for overtaken in self.next.max(offset + 1 - length)..=offset {
            self.forget(self.slot(overtaken));
        }
        while self.refused.first().is_some_and(|refused| *refused <= offset - length) {
            self.refused.pop_first();
        }
        self.next = offset + 1;
    }

    /// Whether the offset that was passed last brings this id for the first time; then it is remembered.
    pub(super) fn is_new(&mut self, id: Uuid, within: u32, sent_again_by_operator: bool) -> bool {
        let id = id.as_u128();
        let Some(earlier) = self.find(id) else {
            self.remember(id);
            return true;
        };
        let too_far = self.next - 1 - earlier > i64::from(within);
        let new = too_far || (sent_again_by_operator && self.refused.contains(&earlier));
        if new {
            self.remember(id);
        }
        new
    }

    /// ClickHouse does not take the row of this offset.
    pub(super) fn refuse(&mut self, offset: i64) {
        self.refused.insert(offset);
    }

    /// Where the id came last.
    fn find(&self, id: u128) -> Option<i64> {
        let slot = *self.slots.find(self.keyed.hash_one(id), |slot| self.ids[*slot as usize] == id)?;
        let (offset, length) = (self.next - 1, self.ids.len() as i64);
        Some(offset - (offset - i64::from(slot)).rem_euclid(length))
    }

    /// The offset that was passed last brought this id.
    fn remember(&mut self, id: u128) {
        let hash = self.keyed.hash_one(id);
        let ids = &self.ids;
        if let Ok(earlier) = self.slots.find_entry(hash, |slot| ids[*slot as usize] == id) {
            earlier.remove();
        }
        let slot = self.slot(self.next - 1);
        self.ids[slot as usize] = id;
        let (ids, keyed) = (&self.ids, &self.keyed);
        self.slots.insert_unique(hash, slot, |slot| keyed.hash_one(ids[*slot as usize]));
    }

    fn forget(&mut self, slot: u32) {
        let hash = self.keyed.hash_one(self.ids[slot as usize]);
        if let Ok(entry) = self.slots.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    fn slot(&self, offset: i64) -> u32 {
        let slot = offset.rem_euclid(self.ids.len() as i64);
        u32::try_from(slot).expect("the length is a u32 and one")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> Uuid {
        Uuid::from_u128(u128::from(n))
    }

    proptest! {
        /// Against a map of where each id was stored last.
        #[test]
        fn an_id_is_new_exactly_when_the_last_offsets_had_it_not(
            steps in prop::collection::vec((1..4i64, 0..12u8, any::<bool>(), any::<bool>()), 1..200),
            within in 1..9u32,
            restart in 0..200usize,
        ) {
            let mut window = Window::new(8);
            let (mut offset, mut stored) = (0, HashMap::<u8, (i64, bool)>::new());
            for (at, (ahead, n, operator, refuse)) in steps.into_iter().enumerate() {
                if at == restart {
                    let known = stored.iter().map(|(n, (offset, refused))| Known { offset: *offset, id: id(*n), refused: *refused });
                    window = Window::recalled(8, known.collect(), offset + 1);
                }
                offset += ahead;
                window.pass(offset);
                let new = stored.get(&n).is_none_or(|(at, refused)| offset - at > i64::from(within) || (*refused && operator));
                prop_assert_eq!(window.is_new(id(n), within, operator), new);
                if new {
                    stored.insert(n, (offset, refuse));
                    if refuse {
                        window.refuse(offset);
                    }
                }
            }
        }
    }

    #[test]
    fn a_topic_that_was_made_anew_starts_with_nothing() {
        let mut window = Window::new(4);
        window.pass(100);
        assert!(window.is_new(id(1), 4, false));
        window.pass(0);
        assert!(window.is_new(id(1), 4, false));
        window.pass(1);
        assert!(!window.is_new(id(1), 4, false));
    }

    #[test]
    fn a_leap_over_all_slots_forgets_all() {
        let mut window = Window::new(4);
        (0..5).for_each(|offset| {
            window.pass(offset);
            assert!(window.is_new(id(offset as u8), 4, false));
        });
        window.pass(1_000_000);
        assert_eq!(window.slots.len(), 0);
    }
}
