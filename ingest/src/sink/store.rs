//! ClickHouse as the sink uses it: one attempt of an insert, and what else it is asked.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clickhouse::Client;
use clickhouse::error::Error;
use service::Health;
use service::backoff::Backoff;
use service::config::{ClickHouseConfig, KafkaConfig};
use tokio::sync::Semaphore;

use super::fault::Faults;
use super::intent::Intent;
use super::lease::Lease;
use super::letterbox::Letterbox;
use super::recall::{self, Lookback};
use super::rows::Table;
use super::trouble::{Severity, Trouble, Troubles};
use super::verdict;
use super::window::Window;
use crate::materialized::OWN;

/// Inserts at a time: a few keep ClickHouse busy, many only make it merge more.
pub const INSERTS_AT_A_TIME: usize = 4;
const RECALLS_AT_A_TIME: usize = 2;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A connection that takes no bytes, or gives no answer, for so long is given up and the insert made again.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(120);
/// After so long without an answer, health says so.
const SLOW: Duration = Duration::from_secs(5);
/// A server that nothing is sent to is asked for its tables so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For everything else that ClickHouse is asked.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(150);

/// What each insert is made with, besides its token. Set explicitly, for their defaults have changed between releases;
/// the recipe needs each of them.
pub const INSERT_SETTINGS: [(&str, &str); 10] = [
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_insert", "enable"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", "1048449"),
    // A batch is small and goes through many views: threads for each of them cost more than they bring.
    ("max_threads", "1"),
    // The views' own GROUP BY has left one row a key, so there is nothing for the tables' engines to bring together.
    ("optimize_on_insert", "0"),
    // Indexes are made when parts are merged: each is two more files to sync, and new parts are small.
    ("materialize_skip_indexes_on_insert", "0"),
    // A batch with rows of very many months is slow to insert, but no reason to stand still for ever.
    ("throw_on_max_partitions_per_insert_block", "0"),
];

/// What one insert sends, each time it is tried.
pub(super) struct Insert<'a> {
    pub(super) into: &'a str,
    pub(super) sql: &'a str,
    pub(super) token: &'a str,
    pub(super) rows: Bytes,
    pub(super) count: usize,
}

/// Where batches go.
pub(super) struct Store {
    /// As it is configured, for questions.
    pub(super) asking: Client,
    /// With what inserts need.
    pub(super) inserting: Client,
    pub(super) letterbox: Letterbox,
    pub(super) troubles: Troubles,
    pub(super) faults: Faults,
    slots: Semaphore,
    recalls: Semaphore,
}

pub(super) fn backoff() -> Backoff {
    Backoff::new(FIRST_WAIT, LONGEST_WAIT)
}

impl Store {
    pub(super) fn new(clickhouse: &ClickHouseConfig, kafka: &KafkaConfig, health: Health) -> anyhow::Result<Self> {
        let asking = service::clickhouse::client(clickhouse);
        let inserting =
            INSERT_SETTINGS.iter().fold(asking.clone(), |client, (name, value)| client.with_setting(*name, *value));
        Ok(Self {
            asking,
            inserting,
            letterbox: Letterbox::new(kafka)?,
            troubles: Troubles::new(health),
            faults: Faults::default(),
            slots: Semaphore::new(INSERTS_AT_A_TIME),
            recalls: Semaphore::new(RECALLS_AT_A_TIME),
        })
    }

    /// Says how ClickHouse stands before the first insert does, and while there is nothing to insert.
    pub(super) async fn watch(&self) {
        loop {
            let (mut backoff, mut trouble) = (backoff(), self.troubles.of("the tables"));
            while let Err(error) = self.tables().await {
                trouble.tell(Severity::Passing, verdict::brief(&format!("{error:#}")));
                backoff.wait().await;
            }
            trouble.over();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn tables(&self) -> anyhow::Result<()> {
        let aside = ["repeats", "dead_letter", "erased"];
        for table in Table::ALL.map(Table::name).into_iter().chain(aside).chain(OWN.map(|(_, target)| target)) {
            let asked = self.asking.query(&format!("SELECT 1 FROM {table} LIMIT 0"));
            tokio::time::timeout(SLOW, asked.execute()).await.context("no answer in time")?.context(table)?;
        }
        Ok(())
    }

    /// What a partition's last offsets brought; asked until ClickHouse tells, for without it nothing can be filtered.
    pub(super) async fn recall(&self, back: &Lookback) -> Window {
        let mut backoff = backoff();
        let mut trouble = self.troubles.of(format!("{}/{}: its last ids", back.topic, back.partition));
        loop {
            match self.try_recall(back).await {
                Ok(window) => {
                    trouble.over();
                    return window;
                }
                Err(error) => trouble.tell(Severity::Passing, verdict::brief(&format!("{error:#}"))),
            }
            backoff.wait().await;
        }
    }

    async fn try_recall(&self, back: &Lookback) -> anyhow::Result<Window> {
        // Never closed, so a failure to get in cannot happen; holding nothing would only lift the bound.
        let _slot = self.recalls.acquire().await;
        tokio::time::timeout(ASK_TIMEOUT, recall::recall(&self.asking, back)).await.context("no answer in time")?
    }

    /// Inserts once, while the partition is ours; an answer that is long in coming is told as trouble meanwhile.
    pub(super) async fn attempt(
        &self,
        what: &Insert<'_>,
        lease: &mut Lease,
        trouble: &mut Trouble<'_>,
    ) -> Result<(), Error> {
        // As above.
        let _slot = self.slots.acquire().await;
        lease.hold().await;
        let mut inserting = std::pin::pin!(self.insert(what));
        match tokio::time::timeout(SLOW, &mut inserting).await {
            Ok(ended) => ended,
            Err(_) => {
                trouble.tell(Severity::Passing, format!("clickhouse has not answered for {SLOW:?}"));
                inserting.await
            }
        }
    }

    async fn insert(&self, Insert { sql, token, rows, .. }: &Insert<'_>) -> Result<(), Error> {
        let client = self.inserting.clone().with_setting("insert_deduplication_token", *token);
        let mut insert = client.insert_formatted_with(*sql).with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
        insert.send(rows.clone()).await?;
        insert.end().await
    }

    /// Whether the table has rows of these offsets.
    ///
    /// # Errors
    /// When ClickHouse does not answer.
    pub(super) async fn has_some_of(&self, table: Table, partition: i32, range: &Intent) -> anyhow::Result<bool> {
        let (name, Intent { first, last, .. }) = (table.name(), range);
        let sql = format!(
            "SELECT 1::UInt8 FROM {name} WHERE _partition = {partition} AND _offset >= {first} AND _offset <= {last} LIMIT 1"
        );
        let found = tokio::time::timeout(ASK_TIMEOUT, self.asking.query(&sql).fetch_optional::<u8>());
        Ok(found.await.context("no answer in time")?.context("cannot look for a batch's rows")?.is_some())
    }
}
