//! A partition while it is ours: its state, its insert, and whether Kafka is to send.

use std::sync::Arc;

use anyhow::Context;
use futures_util::FutureExt;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::consumer::{Consumer, Place};
use super::insert::{Job, Store};
use super::partition::Partition;
use super::rows::Table;

pub(super) struct Owned {
    pub(super) place: Place,
    pub(super) partition: Partition,
    insert: Option<JoinHandle<()>>,
    paused: bool,
}

impl Owned {
    pub(super) fn new(place: Place, partition: Partition) -> Self {
        Self { place, partition, insert: None, paused: false }
    }

    /// Sees whether the insert has ended.
    ///
    /// # Errors
    /// When its task was cut off, which only a panic or the end of the runtime does.
    pub(super) fn harvest(&mut self) -> anyhow::Result<()> {
        let Some(ended) = self.insert.as_mut().and_then(FutureExt::now_or_never) else { return Ok(()) };
        self.insert = None;
        ended.context("an insert task failed")?;
        self.partition.inserted();
        Ok(())
    }

    /// Kafka has the commit: a batch that it announced goes to ClickHouse now.
    pub(super) fn insert_announced(&mut self, table: Table, store: &Arc<Store>) {
        if let Some(batch) = self.partition.committed() {
            let (topic, partition) = self.place.clone();
            let job = Job { table, topic, partition, batch };
            self.insert = Some(Handle::current().spawn(store.clone().keep(job)));
        }
    }

    /// # Errors
    /// When the partition is not ours after all.
    pub(super) fn pause(&mut self, consumer: &Consumer, wanted: bool) -> anyhow::Result<()> {
        if wanted == self.paused {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.place.0, self.place.1);
        let done = if wanted { consumer.pause(&list) } else { consumer.resume(&list) };
        done.with_context(|| format!("cannot pause or resume {:?}", self.place))?;
        self.paused = wanted;
        Ok(())
    }
}

impl Drop for Owned {
    /// The next owner inserts the same range under the same token, so ours may stop anywhere.
    fn drop(&mut self) {
        if let Some(insert) = &self.insert {
            insert.abort();
        }
    }
}
