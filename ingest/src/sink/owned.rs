//! A partition while it is ours: its state, what runs for it, and whether Kafka is to send.
//!
//! librdkafka numbers what it is told about a partition and drops what comes out of order, without a word: a pause
//! that overtakes the start of a fetch leaves the partition still for ever (its issue 5591). So nothing is said of a
//! partition before its first message, nor while librdkafka itself settles a rebalance; a pause is said again to a
//! partition that sends all the same, a resumption to one that has sent nothing for a while. What comes meanwhile is
//! turned away, and Kafka asked for it once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
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

const SEEK_WITHIN: Duration = Duration::from_secs(1);
/// Nothing came for so long: perhaps librdkafka lost the resumption. Where it did not, it does nothing with another.
const QUIET: Duration = Duration::from_secs(5);

pub(super) struct Owned {
    pub(super) place: Place,
    pub(super) partition: Partition,
    table: Table,
    since: Timestamp,
    recall: Option<JoinHandle<Window>>,
    insert: Option<JoinHandle<Outcome>>,
    affirmations: Affirmations,
    /// Nothing should come for now.
    held: bool,
    /// librdkafka was told so.
    paused: bool,
    /// The first message that was turned away: Kafka is asked for it once more.
    turned_away: Option<i64>,
    /// When a message came, or one was asked for.
    stirred: Instant,
}

impl Owned {
    /// One that was just assigned: it takes nothing before ClickHouse has told its last ids.
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
            insert: None,
            affirmations: Affirmations::new(Instant::now()),
            held: true,
            paused: false,
            turned_away: None,
            stirred: Instant::now(),
        }
    }

    /// Whether a message that came can be taken; if not, it will come again.
    pub(super) fn admits(&mut self, offset: i64, now: Instant) -> bool {
        self.stirred = now;
        if self.held {
            self.turned_away.get_or_insert(offset);
            self.paused = false;
        }
        !self.held
    }

    /// It does not know yet what it had before.
    fn is_recalling(&self) -> bool {
        self.recall.is_some()
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

    /// Says whether messages should come. Kafka is told only when it is `calm`.
    pub(super) fn hold(&mut self, consumer: &Consumer, wanted: bool, calm: bool, now: Instant) {
        let held = wanted || self.is_recalling();
        if !calm {
            // What is held stays held: what was turned away is not asked for yet.
            self.held |= held;
            return;
        }
        match self.tell(consumer, held, now) {
            Ok(()) => self.held = held,
            // It stays held, and the same is tried at the next step.
            Err(error) => {
                let (topic, partition) = &self.place;
                tracing::debug!(%error, topic, partition, "cannot pause, resume or seek yet");
                self.held = true;
            }
        }
    }

    fn tell(&mut self, consumer: &Consumer, held: bool, now: Instant) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.place.0, self.place.1);
        if held {
            // A partition that has sent nothing needs no pause.
            if self.turned_away.is_some() && !self.paused {
                consumer.pause(&list)?;
                self.paused = true;
            }
            return Ok(());
        }
        if let Some(early) = self.turned_away {
            consumer.seek(&self.place.0, self.place.1, Offset::Offset(early), SEEK_WITHIN)?;
            self.turned_away = None;
        }
        if self.paused || now.duration_since(self.stirred) >= QUIET {
            consumer.resume(&list)?;
            (self.paused, self.stirred) = (false, now);
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
