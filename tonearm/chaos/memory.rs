//! Which ids were sent, and which of them were accepted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// What the load is told about each id it ever sent.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By id: whether it was accepted.
    sent: HashMap<Uuid, bool>,
    total: Total,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Total {
    pub(crate) accepted: usize,
    /// Sent, and given up without an answer; may be stored once.
    pub(crate) doubtful: usize,
    pub(crate) requests: u64,
    /// Without an answer, or refused for a while; sent again.
    pub(crate) failures: u64,
    /// Sent once more after they were accepted.
    pub(crate) again: u64,
}

impl Memory {
    pub(crate) fn sent(&self, ids: &[Uuid]) {
        let mut state = self.lock();
        state.total.requests += 1;
        for id in ids {
            state.sent.entry(*id).or_insert(false);
        }
    }

    pub(crate) fn accepted(&self, ids: &[Uuid]) {
        let mut state = self.lock();
        for id in ids {
            state.sent.insert(*id, true);
        }
    }

    pub(crate) fn failed(&self) {
        self.lock().total.failures += 1;
    }

    pub(crate) fn again(&self) {
        self.lock().total.again += 1;
    }

    pub(crate) fn total(&self) -> Total {
        let state = self.lock();
        let accepted = state.sent.values().filter(|accepted| **accepted).count();
        Total { accepted, doubtful: state.sent.len() - accepted, ..state.total }
    }

    /// What is stored, with how often, against what was accepted: the first few that do not fit.
    pub(crate) fn compare(&self, stored: &HashMap<Uuid, u64>) -> Vec<String> {
        let state = self.lock();
        let lost = state.sent.iter().filter(|(id, accepted)| **accepted && !stored.contains_key(id));
        let lost = lost.map(|(id, _)| format!("{id} was accepted and is not stored"));
        let twice =
            stored.iter().filter(|(_, rows)| **rows > 1).map(|(id, rows)| format!("{id} is stored {rows} times"));
        let strange = stored.keys().filter(|id| !state.sent.contains_key(id)).map(|id| format!("{id} was never sent"));
        lost.chain(twice).chain(strange).take(20).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, doubtful, requests, failures, again } = self;
        write!(
            f,
            "{accepted} accepted ({doubtful} never answered) in {requests} requests, {failures} of which failed and \
             {again} of which were sent once more for nothing"
        )
    }
}
