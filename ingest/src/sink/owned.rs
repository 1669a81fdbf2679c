//! A partition while it is ours: its state, what runs for it, and whether Kafka is to send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use wire::Timestamp;

use super::consumer::{Consumer, Place};
use super::insert::{Job, Outcome};
use super::lease::Affirmations;
use super::partition::Partition;
use super::recall::Lookback;
use super::rows::Table;
use super::store::Store;
use super::window::Window;

const SEEK_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Owned {
    pub(super) place: Place,
    pub(super) partition: Partition,
    table: Table,
    since: Timestamp,
    recall: Option<JoinHandle<Window>>,
    /// A message that came before the window did: Kafka is asked for it once more.
    came_early: Option<i64>,
    insert: Option<JoinHandle<Outcome>>,
    affirmations: Affirmations,
    paused: bool,
}

impl Owned {
    /// One that was just assigned, and paused with it: it takes nothing before ClickHouse has told its last ids.
    pub(super) fn adopt(place: Place, table: Table, partition: Partition, next: i64, store: &Arc<Store>) -> Self {
        let (topic, id) = place.clone();
        let back = Lookback { table, topic, partition: id, within: partition.looks_back(), next };
        let store = store.clone();
        let recall = Handle::current().spawn(async move { store.recall(&back).await });
        Self {
            place,
            partition,
            table,
            since: Timestamp::now(),
            recall: Some(recall),
            came_early: None,
            insert: None,
            affirmations: Affirmations::new(Instant::now()),
            paused: true,
        }
    }

    /// It does not know yet what it had before.
    pub(super) fn is_recalling(&self) -> bool {
        self.recall.is_some()
    }

    /// A message that cannot be taken yet.
    pub(super) fn turn_away(&mut self, offset: i64) {
        self.came_early.get_or_insert(offset);
    }

    /// When the oldest message that waits here was handed to Kafka, or since when nobody looks.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.partition.oldest().or_else(|| self.is_recalling().then_some(self.since))
    }

    /// Sees whether what runs for it has ended.
    ///
    /// # Errors
    /// When a task was cut off, which only a panic or the end of the runtime does.
    pub(super) fn harvest(&mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.recall.as_mut().and_then(FutureExt::now_or_never) {
            self.recall = None;
            self.partition.remember(ended.context("recalling a partition's ids failed")?);
        }
        let Some(ended) = self.insert.as_mut().and_then(FutureExt::now_or_never) else { return Ok(()) };
        self.insert = None;
        match ended.context("an insert task failed")? {
            Outcome::Kept => self.partition.inserted(),
            Outcome::Refused(batch, reason) => self.partition.refused(*batch, &reason),
        }
        Ok(())
    }

    /// Kafka has the commit: the partition is still ours, and a batch that it announced goes to ClickHouse now.
    pub(super) fn committed(&mut self, now: Instant, store: &Arc<Store>) {
        self.affirmations.affirm(now);
        if let Some(batch) = self.partition.committed(now) {
            let (topic, partition) = self.place.clone();
            let job = Job { table: self.table, topic, partition, batch, lease: self.affirmations.lease() };
            self.insert = Some(Handle::current().spawn(job.keep(store.clone())));
        }
    }

    /// # Errors
    /// When the partition is not ours after all.
    pub(super) fn pause(&mut self, consumer: &Consumer, wanted: bool) -> anyhow::Result<()> {
        let wanted = wanted || self.is_recalling();
        if wanted == self.paused {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.place.0, self.place.1);
        let done = if wanted { consumer.pause(&list) } else { consumer.resume(&list) };
        done.with_context(|| format!("cannot pause or resume {:?}", self.place))?;
        self.paused = wanted;
        if let Some(early) = self.came_early.take_if(|_| !wanted) {
            let (topic, partition) = &self.place;
            let sought = consumer.seek(topic, *partition, Offset::Offset(early), SEEK_WITHIN);
            sought.with_context(|| format!("cannot go back to {early} of {:?}", self.place))?;
        }
        Ok(())
    }
}

impl Drop for Owned {
    /// The next owner inserts the same range under the same token, so ours may stop anywhere.
    fn drop(&mut self) {
        if let Some(recall) = &self.recall {
            recall.abort();
        }
        if let Some(insert) = &self.insert {
            insert.abort();
        }
    }
}
