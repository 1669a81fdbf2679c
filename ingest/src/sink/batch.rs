//! Rows on their way, in the order of their offsets.

use std::time::{Duration, Instant};

use wire::Timestamp;

use super::dead_letter::DeadLetter;
use super::fault::Mark;
use super::intent::Intent;
use super::repeats::Repeat;
use super::rows::{Incoming, Table};
use super::window::Window;

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
    /// When its first message was handed to Kafka.
    oldest: Option<Timestamp>,
    /// RowBinary, made once: every attempt sends these very values.
    pub(super) rows: Vec<u8>,
    pub(super) places: Vec<RowPlace>,
    pub(super) repeats: Vec<Repeat>,
    pub(super) dead: Vec<DeadLetter>,
    /// Of repeats and dead letters.
    other_bytes: usize,
    /// How far the table was when it was tried first, as a whole.
    pub(super) tried: Option<Mark>,
    /// Nobody knows what ClickHouse has of it: another sink may have begun, or an attempt failed.
    pub(super) is_uncertain: bool,
}

/// Which offset a row came from, and where its bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowPlace {
    pub(super) offset: i64,
    end: usize,
}

impl Batch {
    /// An empty one. Its range grows with what is pushed, unless it is a replay's: then [`Batch::push`] decides as it says.
    pub(super) fn open(range: Intent, now: Instant) -> Self {
        let (rows, places, repeats, dead) = Default::default();
        let (other_bytes, is_uncertain) = (0, false);
        Self { range, opened: now, oldest: None, rows, places, repeats, dead, other_bytes, tried: None, is_uncertain }
    }

    pub(super) fn push(&mut self, table: Table, message: &Incoming<'_>, window: &mut Window) {
        self.oldest.get_or_insert(message.received_at);
        self.range.last = self.range.last.max(message.offset);
        window.pass(message.offset);
        let before = self.rows.len();
        match table.append(message, &mut self.rows) {
            Err(error) => self.push_dead(DeadLetter::unreadable(message, &error)),
            Ok(id) if !window.is_new(id, self.range.window, message.is_sent_again) => {
                self.rows.truncate(before);
                let repeat = Repeat::of(table, message, id);
                self.other_bytes += repeat.bytes();
                self.repeats.push(repeat);
            }
            Ok(id) => match &self.range.refused {
                Some(reason) => {
                    let letter = DeadLetter::refused(message, Some(id), reason);
                    window.refuse(message.offset);
                    self.rows.truncate(before);
                    self.push_dead(letter);
                }
                None => self.places.push(RowPlace { offset: message.offset, end: self.rows.len() }),
            },
        }
    }

    fn push_dead(&mut self, letter: DeadLetter) {
        self.other_bytes += letter.bytes();
        self.dead.push(letter);
    }

    pub(super) fn row_count(&self) -> usize {
        self.places.len()
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// What it takes of the process's memory, with the room that its buffers have left.
    pub(super) fn held_bytes(&self) -> usize {
        self.rows.capacity() + self.places.capacity() * size_of::<RowPlace>() + self.other_bytes
    }

    /// The same while it is inserted: what is sent of its rows lies beside them.
    pub(super) fn inserting_bytes(&self) -> usize {
        self.held_bytes() + self.rows.len()
    }

    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        let messages = self.places.len() + self.repeats.len() + self.dead.len();
        messages >= limits.rows || self.rows.len() + self.other_bytes >= limits.bytes
    }

    pub(super) fn is_due(&self, now: Instant, limits: &Limits) -> bool {
        self.is_full(limits) || now.saturating_duration_since(self.opened) >= limits.wait
    }

    /// In two, each with a range and so a token of its own; no second half where it is a single message.
    pub(super) fn split(mut self) -> (Self, Option<Self>) {
        if self.range.first == self.range.last {
            return (self, None);
        }
        let cut = self.middle();
        let row = self.places.partition_point(|place| place.offset < cut);
        let byte = row.checked_sub(1).map_or(0, |last| self.places[last].end);
        let mut right = Self::open(Intent { first: cut, ..self.range.clone() }, self.opened);
        (right.oldest, right.tried, right.is_uncertain) = (self.oldest, self.tried, self.is_uncertain);
        right.rows = self.rows.split_off(byte);
        right.places = self.places.split_off(row);
        right.places.iter_mut().for_each(|place| place.end -= byte);
        right.repeats = self.repeats.split_off(self.repeats.partition_point(|repeat| repeat.offset < cut));
        right.dead = self.dead.split_off(self.dead.partition_point(|letter| letter.offset < cut));
        self.range.last = cut - 1;
        self.weigh();
        right.weigh();
        (self, Some(right))
    }

    /// The offset at which the right half begins: half of the rows, and a lone row apart from what is around it.
    fn middle(&self) -> i64 {
        match &self.places[..] {
            [] => self.range.last,
            [only] if only.offset == self.range.first => only.offset + 1,
            rows => rows[rows.len() / 2].offset,
        }
    }

    fn weigh(&mut self) {
        let repeats: usize = self.repeats.iter().map(Repeat::bytes).sum();
        self.other_bytes = repeats + self.dead.iter().map(DeadLetter::bytes).sum::<usize>();
    }
}
