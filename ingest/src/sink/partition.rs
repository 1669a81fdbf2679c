//! One partition's way from message to commit, as a state machine without sockets or clocks.
//!
//! ```text
//!   take -> filling --due--> Announcing --committed--> Inserting --inserted--> Inserted --committed--> Idle
//!                                 ^                                                |
//!                                 +------------- the next batch is due ------------+
//! ```
//! The commit that announces a batch also settles the one before it.

use std::time::Instant;

use super::batch::{Batch, Limits};
use super::intent::Intent;
use super::rows::{Incoming, Table};

#[derive(Debug)]
enum Phase {
    /// Nothing is on its way.
    Idle,
    /// Its offsets must be in Kafka before its rows may be in ClickHouse.
    Announcing(Batch),
    /// An insert task has the rows.
    Inserting { last: i64, bytes: usize },
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
    filling: Option<Batch>,
    /// What an earlier owner may or may not have inserted: gathered again first, exactly.
    replay: Option<Intent>,
    /// The offset that should come next; none before the first message of a group without offsets.
    expected: Option<i64>,
}

/// What a message showed besides its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Contiguous,
    /// So many offsets before it never came: Kafka no longer had them.
    Missing(i64),
    /// It is older than what was committed: the topic was made anew while nobody looked.
    Backwards,
}

/// Offsets went back under a batch that is on its way: only a new start can tell the old ones from the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} came after {after}: the topic was made anew")]
pub(super) struct WentBack {
    offset: i64,
    after: i64,
}

impl Partition {
    pub(super) fn new(table: Table, committed: Option<i64>, replay: Option<Intent>) -> Self {
        Self { table, phase: Phase::Idle, filling: None, replay, expected: committed }
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
        if let Some(intent) = self.replay.filter(|intent| message.offset > intent.last) {
            self.finish_replay(intent, now);
        }
        let batch = self.filling.get_or_insert_with(|| Batch::open(message.offset, now));
        batch.push(self.table, message);
        if let Some(intent) = self.replay.filter(|intent| message.offset == intent.last) {
            self.finish_replay(intent, now);
        }
        Ok(order)
    }

    /// The range is complete, or what is missing of it is no longer in Kafka. It is the first batch of
    /// its owner, so nothing else is on its way.
    fn finish_replay(&mut self, intent: Intent, now: Instant) {
        self.replay = None;
        let mut batch = self.filling.take().unwrap_or_else(|| Batch::open(intent.first, now));
        batch.range = intent;
        self.phase = Phase::Announcing(batch);
    }

    fn order(&mut self, offset: i64) -> Result<Order, WentBack> {
        let expected = self.expected.replace(offset + 1).unwrap_or(offset);
        let untouched = self.filling.is_none() && matches!(self.phase, Phase::Idle);
        match offset - expected {
            0 => Ok(Order::Contiguous),
            missing if missing > 0 => Ok(Order::Missing(missing)),
            _ if untouched => Ok(Order::Backwards),
            _ => Err(WentBack { offset, after: expected - 1 }),
        }
    }

    /// Closes the batch that is being filled, if it is due (or `at_once`) and nothing else is on its way.
    pub(super) fn advance(&mut self, now: Instant, limits: &Limits, at_once: bool) {
        let free = matches!(self.phase, Phase::Idle | Phase::Inserted { .. });
        if !free || self.replay.is_some() {
            return;
        }
        if let Some(batch) = self.filling.take_if(|batch| at_once || batch.is_due(now, limits)) {
            self.phase = Phase::Announcing(batch);
        }
    }

    /// What Kafka should be told now; none when it knows all.
    pub(super) fn commit(&self) -> Option<Commit> {
        match &self.phase {
            Phase::Announcing(batch) => Some(Commit { offset: batch.range.first, metadata: batch.range.to_metadata() }),
            Phase::Inserted { last } => Some(Commit { offset: last + 1, metadata: String::new() }),
            Phase::Idle | Phase::Inserting { .. } => None,
        }
    }

    /// Kafka has what [`Partition::commit`] said; a batch that comes out is to be inserted now.
    pub(super) fn committed(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Announcing(batch) => {
                self.phase = Phase::Inserting { last: batch.range.last, bytes: batch.bytes() };
                Some(batch)
            }
            Phase::Inserted { .. } | Phase::Idle => None,
            inserting @ Phase::Inserting { .. } => {
                self.phase = inserting;
                None
            }
        }
    }

    /// ClickHouse has the batch.
    pub(super) fn inserted(&mut self) {
        if let Phase::Inserting { last, .. } = self.phase {
            self.phase = Phase::Inserted { last };
        }
    }

    /// No more messages should come for now: the batch being filled is full and cannot go yet.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.replay.is_none() && self.filling.as_ref().is_some_and(|batch| batch.is_full(limits))
    }

    /// It needs its messages to get anywhere: pausing it frees nothing.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Bytes held for it.
    pub(super) fn bytes(&self) -> usize {
        let on_its_way = match &self.phase {
            Phase::Announcing(batch) => batch.bytes(),
            Phase::Inserting { bytes, .. } => *bytes,
            Phase::Idle | Phase::Inserted { .. } => 0,
        };
        on_its_way + self.filling.as_ref().map_or(0, Batch::bytes)
    }

    /// A stop leaves nothing half done here; a replay that is not complete is the next owner's.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle) && (self.filling.is_none() || self.replay.is_some())
    }
}

#[cfg(test)]
mod tests;
