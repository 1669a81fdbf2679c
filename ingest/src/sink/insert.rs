//! One batch into ClickHouse, tried until it is there. Every attempt sends the same bytes under the same token,
//! so it does not matter which of them succeeded, nor how often.
//!
//! Rows go first, for they alone may be refused, and then nothing else of the batch may be there yet. A crash
//! between the inserts is made good by the replay of the whole batch, for each of them has its own table.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::arrival;
use super::batch::Batch;
use super::dead_letter;
use super::fault::Mark;
use super::lease::Lease;
use super::metrics;
use super::original;
use super::repeats;
use super::rows::Table;
use super::store::{self, Insert, Store};
use super::trouble::{Severity, Trouble};
use super::verdict::{self, Verdict};

/// A batch and where it came from.
pub(super) struct Job {
    pub(super) table: Table,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) batch: Batch,
    pub(super) lease: Lease,
}

/// How an insert ends.
pub(super) enum Outcome {
    /// Everything of the batch is kept: rows in their table, repeats in theirs, dead letters in theirs and in their topic.
    Kept,
    /// ClickHouse has nothing of it: one of its rows, or the only one, is at fault.
    Refused(Box<Batch>, String),
}

impl Job {
    pub(super) async fn keep(mut self, store: Arc<Store>) -> Outcome {
        let labels = [("table", self.table.name().to_owned())];
        let since = Instant::now();
        if self.batch.range.refused.is_some() {
            self.set_row_aside(&store).await;
        } else if self.batch.row_count() > 0 {
            if let Err(reason) = self.insert_rows(&store).await {
                return Outcome::Refused(Box::new(self.batch), reason);
            }
            metrics::ROWS.counter(&labels).increment(self.batch.row_count() as u64);
        }
        self.insert_others(&store).await;
        metrics::BATCHES.counter(&labels).increment(1);
        metrics::INSERT.histogram(&labels).record(since.elapsed());
        Outcome::Kept
    }

    fn token(&self) -> String {
        self.batch.range.token(&self.topic, self.partition)
    }

    /// The message itself, as Kafka has it, in place of its row.
    async fn set_row_aside(&mut self, store: &Store) {
        if self.batch.row_count() == 0 {
            // A replay has read the message again and made the letter.
            return;
        }
        let reason = self.batch.range.refused.clone().unwrap_or_default();
        let letter = original::letter(store, self, &reason).await;
        self.batch.dead.push(letter);
        store.faults.aside(self.table);
    }

    async fn insert_others(&mut self, store: &Store) {
        let (topic, partition, token) = (self.topic.clone(), self.partition, self.token());
        let labels = [("table", self.table.name().to_owned())];
        if !self.batch.repeats.is_empty() {
            let rows = repeats::rows(&self.batch.repeats, &topic, partition).into();
            let (token, count) = (format!("{token}/repeats"), self.batch.repeats.len());
            self.insert(store, Insert { into: "repeats", sql: repeats::INSERT, token: &token, rows, count }).await;
            metrics::REPEATS.counter(&labels).increment(self.batch.repeats.len() as u64);
        }
        if !self.batch.dead.is_empty() {
            let rows = dead_letter::rows(&self.batch.dead, &topic, partition).into();
            let (token, count) = (format!("{token}/dead"), self.batch.dead.len());
            self.insert(store, Insert { into: "dead_letter", sql: dead_letter::INSERT, token: &token, rows, count })
                .await;
            store.letterbox.post_all(&self.batch.dead, &topic, partition, self.table).await;
            metrics::DEAD.counter(&labels).increment(self.batch.dead.len() as u64);
        }
    }

    /// Tries for ever: nothing here may drop a row, and whatever is wrong, someone can put it right.
    async fn insert(&mut self, store: &Store, what: Insert<'_>) {
        let mut backoff = store::backoff();
        let mut trouble = store.troubles.of(what.token);
        while !self.has_arrived(store, &what, &mut trouble).await
            && let Err(error) = store.attempt(&what, &mut self.lease, &mut trouble).await
        {
            self.batch.is_uncertain = true;
            metrics::FAILURES.counter(&[("table", self.table.name().to_owned())]).increment(1);
            let passing = verdict::of(&error) == Verdict::Passing;
            trouble.tell(if passing { Severity::Passing } else { Severity::Lasting }, verdict::brief(&error));
            backoff.wait().await;
        }
        self.complete(store, &what, &mut trouble).await;
        trouble.over();
    }

    /// Whether the table has the rows from an earlier attempt, where there may have been one.
    async fn has_arrived(&self, store: &Store, what: &Insert<'_>, trouble: &mut Trouble<'_>) -> bool {
        self.batch.is_uncertain && told(trouble, || arrival::has_rows(store, self, what)).await
    }

    /// What was acknowledged is there: known of an insert that went well at once, looked for otherwise.
    async fn complete(&self, store: &Store, what: &Insert<'_>, trouble: &mut Trouble<'_>) {
        if self.batch.is_uncertain {
            told(trouble, || arrival::complete(store, self, what)).await;
        }
    }

    /// Tries for ever as well, but for rows that are at fault themselves.
    ///
    /// # Errors
    /// Why ClickHouse refused them; it has none of them.
    async fn insert_rows(&mut self, store: &Store) -> Result<(), String> {
        // Kept as they are, for a refusal cuts them in two.
        let rows = Bytes::from(std::mem::take(&mut self.batch.rows));
        let count = self.batch.row_count();
        let (sql, sent) = self.table.insert_of(rows.clone(), count);
        let token = self.token();
        let what = Insert { into: self.table.name(), sql: &sql, token: &token, rows: sent, count };
        let mut backoff = store::backoff();
        let mut trouble = store.troubles.of(token.as_str());
        let mark = *self.batch.tried.get_or_insert_with(|| store.faults.mark(self.table));
        while !self.has_arrived(store, &what, &mut trouble).await
            && let Err(error) = store.attempt(&what, &mut self.lease, &mut trouble).await
        {
            self.batch.is_uncertain = true;
            metrics::FAILURES.counter(&[("table", self.table.name().to_owned())]).increment(1);
            let reason = verdict::brief(&error);
            match verdict::of(&error) {
                Verdict::Passing => trouble.tell(Severity::Passing, reason),
                Verdict::Schema => trouble.tell(Severity::Lasting, reason),
                Verdict::Rows if self.is_at_fault(store, mark, &mut trouble, &reason).await => {
                    self.batch.rows = rows.into();
                    return Err(reason);
                }
                Verdict::Rows => {}
            }
            backoff.wait().await;
        }
        self.complete(store, &what, &mut trouble).await;
        trouble.over();
        store.faults.taken(self.table);
        Ok(())
    }

    /// Whether the batch can be cut, or its only row set aside.
    async fn is_at_fault(&self, store: &Store, mark: Mark, trouble: &mut Trouble<'_>, reason: &str) -> bool {
        let Batch { range, .. } = &self.batch;
        let is_alone = range.first == range.last;
        let judged = async {
            if store.has_some_of(self.table, self.partition, range).await? {
                // Refused after all, by something behind the table: cut in two, its halves would be there twice.
                return Ok((false, "the table has the rows and yet the insert fails"));
            }
            let row_at_fault = !is_alone || store.faults.is_the_rows(self, mark, store).await?;
            Ok((
                row_at_fault,
                "the table takes no other row either, as far as can be seen, so it is not set aside until it does",
            ))
        };
        match judged.await {
            Ok((true, _)) => true,
            Ok((false, why)) => {
                trouble.tell(Severity::Lasting, format!("{why}: {reason}"));
                false
            }
            Err(error) => {
                let error: anyhow::Error = error;
                trouble.tell(Severity::Passing, verdict::brief(&format!("{error:#}")));
                false
            }
        }
    }
}

/// Asks until ClickHouse tells.
async fn told<T, F: Future<Output = anyhow::Result<T>>>(trouble: &mut Trouble<'_>, ask: impl Fn() -> F) -> T {
    let mut backoff = store::backoff();
    loop {
        match ask().await {
            Ok(told) => return told,
            Err(error) => {
                let passes = error.downcast_ref().is_none_or(|error| verdict::of(error) == Verdict::Passing);
                let severity = if passes { Severity::Passing } else { Severity::Lasting };
                trouble.tell(severity, verdict::brief(&format!("{error:#}")));
            }
        }
        backoff.wait().await;
    }
}
