//! Rows on their way, in the order of their offsets.

use std::time::{Duration, Instant};

use super::dead_letter::DeadLetter;
use super::intent::Intent;
use super::rows::{Incoming, Table};

/// When a batch is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) wait: Duration,
}

/// What one insert takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    /// What the token will name.
    pub(super) range: Intent,
    opened: Instant,
    /// RowBinary, made once: every attempt sends these very bytes.
    pub(super) rows: Vec<u8>,
    pub(super) row_count: usize,
    pub(super) dead: Vec<DeadLetter>,
    dead_bytes: usize,
}

impl Batch {
    /// An empty one that begins at `first`.
    pub(super) fn open(first: i64, now: Instant) -> Self {
        let range = Intent { first, last: first, version: Intent::VERSION };
        Self { range, opened: now, rows: Vec::new(), row_count: 0, dead: Vec::new(), dead_bytes: 0 }
    }

    pub(super) fn push(&mut self, table: Table, message: &Incoming<'_>) {
        self.range.last = message.offset;
        match table.append(message, &mut self.rows) {
            Ok(()) => self.row_count += 1,
            Err(error) => {
                let letter = DeadLetter::of(message, &error);
                self.dead_bytes += letter.bytes();
                self.dead.push(letter);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.dead_bytes
    }

    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.row_count + self.dead.len() >= limits.rows || self.bytes() >= limits.bytes
    }

    pub(super) fn is_due(&self, now: Instant, limits: &Limits) -> bool {
        self.is_full(limits) || now.saturating_duration_since(self.opened) >= limits.wait
    }
}
