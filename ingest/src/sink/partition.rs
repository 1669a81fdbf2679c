//! One partition's way from message to commit, as a state machine without sockets or clocks.
//!
//! ```text
//!   take -> filling --due--> Announcing --committed--> Inserting --inserted--> Inserted --committed--> Idle
//!                                 ^                      |                         |
//!                                 +--- half of it -------+ refused                 |
//!                                 +------------- the next batch is due ------------+
//! ```
//! The commit that announces a batch also settles the one before it. A batch that ClickHouse refuses is cut in
//! two, and each half announced in its turn, until the row at fault stands alone and becomes a dead letter.

use std::time::{Duration, Instant};

use wire::Timestamp;

use super::batch::{Batch, Limits};
use super::intent::Intent;
use super::rows::{Incoming, Table};
use super::window::Window;

/// An insert that lasts is announced again this often: the answer tells whether the partition is still ours.
const AFFIRM_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug)]
enum Phase {
    /// Nothing is on its way.
    Idle,
    /// Its offsets must be in Kafka before its rows may be in ClickHouse.
    Announcing(Batch),
    /// An insert task has the rows.
    Inserting { range: Intent, bytes: usize, oldest: Option<Timestamp>, affirmed: Instant },
    /// ClickHouse has them, Kafka does not know yet.
    Inserted { last: i64 },
}

/// What Kafka is to keep for the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) offset: i64,
    pub(super) metadata: String,
}

#[derive(Debug)]
pub(super) struct Partition {
    table: Table,
    phase: Phase,
    /// What is left of a batch that was refused, the next one last: it goes before what is being filled.
    rest: Vec<Batch>,
    filling: Option<Batch>,
    /// What an earlier owner may or may not have inserted: gathered again first, exactly.
    replay: Option<Intent>,
    /// The offset that should come next.
    expected: i64,
    /// No message has come yet.
    fresh: bool,
    window: Window,
    /// How far back an id counts as a repeat.
    within: u32,
}

/// What a message showed besides its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Contiguous,
    /// So many offsets before it never came: Kafka no longer had them.
    Missing(i64),
    /// The first one is older than what was committed: the topic was made anew while nobody looked.
    Backwards,
}

/// Offsets went back: only a new start can tell old ones from new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} came after {after}")]
pub(super) struct WentBack {
    offset: i64,
    after: i64,
}

impl Partition {
    /// One that goes on at `committed`. Messages may come once it has its window.
    pub(super) fn new(table: Table, committed: i64, replay: Option<Intent>, within: u32) -> Self {
        let window = Window::new(0);
        let (rest, filling) = (Vec::new(), None);
        Self { table, phase: Phase::Idle, rest, filling, replay, expected: committed, fresh: true, window, within }
    }

    /// How many offsets before the first one its window must know.
    pub(super) fn looks_back(&self) -> u32 {
        self.replay.as_ref().map_or(self.within, |intent| intent.window.max(self.within))
    }

    /// What the offsets before the first one had.
    pub(super) fn remember(&mut self, window: Window) {
        self.window = window;
    }

    /// Adds a message to the batch that is being filled, beyond its limits if need be: who calls pauses
    /// the partition once it [`Partition::is_full`].
    ///
    /// # Errors
    /// [`WentBack`]; the message is not taken then.
    pub(super) fn take(&mut self, message: &Incoming<'_>, now: Instant) -> Result<Order, WentBack> {
        let order = self.order(message.offset)?;
        if order == Order::Backwards {
            self.replay = None;
        }
        if let Some(intent) = self.replay.take_if(|intent| message.offset > intent.last) {
            self.finish_replay(intent, now);
        }
        let range = || self.replay.clone().unwrap_or_else(|| Intent::at(message.offset, self.within));
        let batch = self.filling.get_or_insert_with(|| Batch::open(range(), now));
        batch.push(self.table, message, &mut self.window);
        if let Some(intent) = self.replay.take_if(|intent| message.offset == intent.last) {
            self.finish_replay(intent, now);
        }
        Ok(order)
    }

    /// The range is complete, or what is missing of it is no longer in Kafka. It is the first batch of
    /// its owner, so nothing else is on its way.
    fn finish_replay(&mut self, intent: Intent, now: Instant) {
        let mut batch = self.filling.take().unwrap_or_else(|| Batch::open(intent, now));
        batch.is_uncertain = true;
        self.phase = Phase::Announcing(batch);
    }

    fn order(&mut self, offset: i64) -> Result<Order, WentBack> {
        let expected = std::mem::replace(&mut self.expected, offset + 1);
        let fresh = std::mem::replace(&mut self.fresh, false);
        match offset - expected {
            0 => Ok(Order::Contiguous),
            missing if missing > 0 => Ok(Order::Missing(missing)),
            _ if fresh => Ok(Order::Backwards),
            _ => Err(WentBack { offset, after: expected - 1 }),
        }
    }

    /// Closes the batch that is being filled, if it is due (or `at_once`) and nothing else is on its way.
    pub(super) fn advance(&mut self, now: Instant, limits: &Limits, at_once: bool) {
        let free = matches!(self.phase, Phase::Idle | Phase::Inserted { .. });
        if !free || self.replay.is_some() {
            return;
        }
        let due = |filling: &mut Batch| at_once || filling.is_due(now, limits);
        if let Some(batch) = self.rest.pop().or_else(|| self.filling.take_if(due)) {
            self.phase = Phase::Announcing(batch);
        }
    }

    /// What Kafka should be told now; none when it knows all.
    pub(super) fn commit(&self, now: Instant) -> Option<Commit> {
        let announce = |range: &Intent| Commit { offset: range.first, metadata: range.to_metadata() };
        match &self.phase {
            Phase::Announcing(batch) => Some(announce(&batch.range)),
            Phase::Inserting { range, affirmed, .. } => {
                (now.saturating_duration_since(*affirmed) >= AFFIRM_EVERY).then(|| announce(range))
            }
            Phase::Inserted { last } => Some(Commit { offset: last + 1, metadata: String::new() }),
            Phase::Idle => None,
        }
    }

    /// Kafka has what [`Partition::commit`] said; a batch that comes out is to be inserted now.
    pub(super) fn committed(&mut self, now: Instant) -> Option<Batch> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Announcing(batch) => {
                let (range, bytes, oldest) = (batch.range.clone(), batch.inserting_bytes(), batch.oldest());
                self.phase = Phase::Inserting { range, bytes, oldest, affirmed: now };
                Some(batch)
            }
            Phase::Inserting { range, bytes, oldest, .. } => {
                self.phase = Phase::Inserting { range, bytes, oldest, affirmed: now };
                None
            }
            Phase::Inserted { .. } | Phase::Idle => None,
        }
    }

    /// ClickHouse has the batch.
    pub(super) fn inserted(&mut self) {
        if let Phase::Inserting { range, .. } = &self.phase {
            self.phase = Phase::Inserted { last: range.last };
        }
    }

    /// ClickHouse has nothing of the batch, and will not have all of it.
    pub(super) fn refused(&mut self, batch: Batch, reason: &str) {
        let (mut next, right) = batch.split();
        if right.is_none() {
            // Before anybody can send the letter again: that one must find it so.
            self.window.refuse(next.range.first);
            next.range.refuse(reason);
        }
        self.rest.extend(right);
        self.phase = Phase::Announcing(next);
    }

    /// No more messages should come for now: the batch being filled is full and cannot go yet.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.replay.is_none() && self.filling.as_ref().is_some_and(|batch| batch.is_full(limits))
    }

    /// It needs its messages to get anywhere: pausing it frees nothing.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Bytes held for it, without its window.
    pub(super) fn held_bytes(&self) -> usize {
        let on_its_way = match &self.phase {
            Phase::Announcing(batch) => batch.held_bytes(),
            Phase::Inserting { bytes, .. } => *bytes,
            Phase::Idle | Phase::Inserted { .. } => 0,
        };
        on_its_way + self.rest.iter().chain(&self.filling).map(Batch::held_bytes).sum::<usize>()
    }

    /// When the oldest message that waits here was handed to Kafka.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let on_its_way = match &self.phase {
            Phase::Announcing(batch) => batch.oldest(),
            Phase::Inserting { oldest, .. } => *oldest,
            Phase::Idle | Phase::Inserted { .. } => None,
        };
        on_its_way.or_else(|| self.rest.last().or(self.filling.as_ref()).and_then(Batch::oldest))
    }

    /// A stop leaves nothing half done here; a replay that is not complete is the next owner's.
    pub(super) fn is_settled(&self) -> bool {
        let nothing_waits = self.rest.is_empty() && self.filling.is_none();
        matches!(self.phase, Phase::Idle) && (nothing_waits || self.replay.is_some())
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
