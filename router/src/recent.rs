//! Recent decisions, as the JSON that Kafka gets: for explaining one at once, and for telling a
//! measurement of a real decision from a made-up one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wire::DecisionId;

/// Decisions in the order they were made, the oldest dropped when `max` bytes of JSON are passed.
#[derive(Debug)]
pub(crate) struct Recent {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_id: HashMap<DecisionId, Entry>,
    oldest_first: VecDeque<DecisionId>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    json: Bytes,
    measured: bool,
}

/// What an entry costs beyond its JSON: two copies of its id, the map's and the queue's slots.
const OVERHEAD: usize = 128;

impl Recent {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, held: Mutex::default() }
    }

    pub(crate) fn put(&self, id: DecisionId, json: Bytes) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += json.len() + OVERHEAD;
        held.by_id.insert(id, Entry { json, measured: false });
        held.oldest_first.push_back(id);
        while held.bytes > self.max {
            held.drop_oldest();
        }
    }

    pub(crate) fn get(&self, id: DecisionId) -> Option<Bytes> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.by_id.get(&id).map(|entry| entry.json.clone())
    }

    /// Whether this is the first measurement of the decision; the next will not be.
    pub(crate) fn measure_once(&self, id: DecisionId) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.by_id.get_mut(&id).is_some_and(|entry| !std::mem::replace(&mut entry.measured, true))
    }
}

impl Held {
    fn drop_oldest(&mut self) {
        let Some(id) = self.oldest_first.pop_front() else { return };
        if let Some(entry) = self.by_id.remove(&id) {
            self.bytes -= entry.json.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let recent = Recent::new(3 * (100 + OVERHEAD));
        let ids: Vec<DecisionId> = (0..5).map(|_| DecisionId::generate()).collect();
        ids.iter().for_each(|id| recent.put(*id, Bytes::from(vec![b'x'; 100])));
        let held: Vec<bool> = ids.iter().map(|id| recent.get(*id).is_some()).collect();
        assert_eq!(held, [false, false, true, true, true]);
    }

    #[test]
    fn a_decision_larger_than_all_room_is_not_held() {
        let recent = Recent::new(50);
        let id = DecisionId::generate();
        recent.put(id, Bytes::from_static(b"{}"));
        assert!(recent.get(id).is_none());
        assert_eq!(recent.held.lock().unwrap().bytes, 0);
    }

    #[test]
    fn one_measurement_for_each_decision() {
        let recent = Recent::new(1000);
        let id = DecisionId::generate();
        assert!(!recent.measure_once(id));
        recent.put(id, Bytes::new());
        assert!(recent.measure_once(id) && !recent.measure_once(id));
    }
}
