//! Delivery records on their way to the disk: one thread, which writes and syncs what arrives together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use service::Health;
use service::health::Status;
use service::journal::{Journal, Pen, record};
use tokio::sync::{Notify, mpsc};
use wire::delivery::Delivery;
use wire::topic::Topic;
use wire::{EdgeId, PopId};

use super::Record;
use super::notes::Note;
use crate::metrics::Metrics;

/// How long the first of a group waits for others, and how many there may be. A loss of power loses the records of
/// this time.
const GATHER: Duration = Duration::from_millis(10);
const GROUP: usize = 2000;

/// Where records are kept until ingest has them.
#[derive(Debug)]
pub struct Spool {
    pub journal: Journal,
    pub max: u64,
    /// There may be something to send.
    pub readable: Notify,
}

impl Spool {
    /// Takes the folder, with what an earlier process left in it.
    ///
    /// # Errors
    /// When it cannot be used, or another process has it.
    pub fn open(dir: &Path, max: u64) -> anyhow::Result<Self> {
        let journal = Journal::open(dir)?;
        let waiting = journal.waiting();
        if waiting > 0 {
            tracing::info!(records = waiting, "the spool holds delivery records that an earlier process left");
        }
        Ok(Self { journal, max, readable: Notify::new() })
    }
}

/// Takes records from the serving threads.
#[derive(Debug)]
pub struct Keeper {
    pub edge: EdgeId,
    pub pop: PopId,
    pub spool: Arc<Spool>,
    /// What the disk does not take goes to ingest from memory.
    pub direct: mpsc::Sender<Vec<Bytes>>,
    pub health: Health,
    pub metrics: Arc<Metrics>,
}

impl Keeper {
    /// Keeps what an earlier process left in its notes, and then records until nobody is left to make any.
    pub fn run(self, left: Vec<Note>, mut queue: mpsc::Receiver<Record>) {
        let mut pen = Pen::default();
        self.keep_left(&mut pen, left);
        while let Some(first) = queue.blocking_recv() {
            std::thread::sleep(GATHER);
            let mut records = vec![first];
            while records.len() < GROUP
                && let Ok(record) = queue.try_recv()
            {
                records.push(record);
            }
            self.keep(&mut pen, records.iter().map(|record| record.told().into_delivery(&self.edge, &self.pop)));
            // Only now: with them go their notes.
            drop(records);
        }
    }

    fn keep_left(&self, pen: &mut Pen, mut left: Vec<Note>) {
        if left.is_empty() {
            return;
        }
        tracing::info!(answers = left.len(), "answers were under way when an earlier process was killed");
        while !left.is_empty() {
            let notes: Vec<Note> = left.drain(..left.len().min(GROUP)).collect();
            self.keep(pen, notes.iter().map(|note| note.delivery(&self.edge, &self.pop)));
        }
    }

    /// The record as ingest gets it.
    fn payload(&self, delivery: Option<Delivery>) -> Option<Bytes> {
        let Some(delivery) = delivery else {
            self.metrics.deliveries_unnamed.increment(1);
            return None;
        };
        Some(serde_json::to_vec(&delivery).expect("texts and numbers are written to memory").into())
    }

    fn keep(&self, pen: &mut Pen, told: impl Iterator<Item = Option<Delivery>>) {
        let group: Vec<Bytes> = told.filter_map(|delivery| self.payload(delivery)).collect();
        if group.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for payload in &group {
            record::append(&mut bytes, Topic::Deliveries, self.edge.as_str().as_bytes(), payload);
        }
        if self.spool.journal.stored() + bytes.len() as u64 > self.spool.max {
            self.metrics.deliveries_lost.increment(group.len() as u64);
            let words =
                "the spool of delivery records is full: ingest has been away for too long, and records are lost";
            return self.health.set("spool", Status::Degraded(words.into()));
        }
        match self.spool.journal.append(pen, &[bytes], group.len() as u64) {
            Ok(()) => {
                self.health.set("spool", Status::Ok);
                self.spool.readable.notify_one();
            }
            Err(error) => {
                let words = format!("delivery records wait in memory, for the disk does not take them: {error}");
                self.health.set("spool", Status::Degraded(words));
                let records = group.len() as u64;
                // While it waits for its turn the queue fills; what finds no room there is counted as lost.
                if self.direct.blocking_send(group).is_err() {
                    self.metrics.deliveries_lost.increment(records);
                }
            }
        }
    }
}
