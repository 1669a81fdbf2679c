//! Into ClickHouse, tried until it is there. Every attempt sends the same bytes under the same token,
//! so it does not matter which of them succeeded, nor how often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clickhouse::Client;
use futures_util::StreamExt;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::Health;
use service::backoff::Backoff;
use service::config::{ClickHouseConfig, KafkaConfig};
use service::kafka::MESSAGE_TIMEOUT;
use tokio::sync::Semaphore;

use super::batch::Batch;
use super::dead_letter::{self, DeadLetter};
use super::metrics;
use super::rows::Table;
use super::trouble::{Severity, Troubles};

/// Inserts at a time: a few keep ClickHouse busy, many only make it merge more.
const AT_A_TIME: usize = 4;
/// Dead letters that wait for Kafka's acknowledgement at a time.
const LETTERS_AT_A_TIME: usize = 256;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A connection that takes no bytes, or gives no answer, for so long is given up and the insert made again.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(120);

/// Set explicitly, for their defaults have changed between releases; the recipe needs each of them.
const SETTINGS: [(&str, &str); 7] = [
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_insert", "enable"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", "1048449"),
    // A batch with rows of very many months is slow to insert, but no reason to stand still for ever.
    ("throw_on_max_partitions_per_insert_block", "0"),
];

/// Where batches go.
pub(super) struct Store {
    client: Client,
    /// For dead letters.
    producer: FutureProducer,
    prefix: String,
    troubles: Troubles,
    slots: Semaphore,
}

/// A batch and where it came from.
pub(super) struct Job {
    pub(super) table: Table,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) batch: Batch,
}

impl Store {
    pub(super) fn new(clickhouse: &ClickHouseConfig, kafka: &KafkaConfig, health: Health) -> anyhow::Result<Self> {
        let client = SETTINGS
            .iter()
            .fold(service::clickhouse::client(clickhouse), |client, (name, value)| client.with_setting(*name, *value));
        let producer = service::kafka::producer(kafka)?;
        let (prefix, troubles) = (kafka.topic_prefix.clone(), Troubles::new(health));
        Ok(Self { client, producer, prefix, troubles, slots: Semaphore::new(AT_A_TIME) })
    }

    /// Says how ClickHouse stands before the first insert does.
    pub(super) async fn greet(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut trouble = self.troubles.of("the tables");
        while let Err(error) = self.tables().await {
            trouble.tell(Severity::Passing, brief(&format!("{error:#}")));
            backoff.wait().await;
        }
        trouble.over();
    }

    async fn tables(&self) -> anyhow::Result<()> {
        for table in Table::ALL.map(Table::name).into_iter().chain(["dead_letter"]) {
            self.client.query(&format!("SELECT 1 FROM {table} LIMIT 0")).execute().await.context(table)?;
        }
        Ok(())
    }

    /// Returns once everything of the batch is kept: rows in their table, dead letters in theirs and in their topic.
    pub(super) async fn keep(self: Arc<Self>, job: Job) {
        let Job { table, topic, partition, batch } = job;
        let labels = [("table", table.name().to_owned())];
        let token = batch.range.token(&topic, partition);
        let since = Instant::now();
        if !batch.dead.is_empty() {
            let rows = dead_letter::rows(&batch.dead, &topic, partition).into();
            self.insert(dead_letter::INSERT, &token, rows, table).await;
            self.set_aside(&batch.dead, &topic, partition, table).await;
            metrics::DEAD.counter(&labels).increment(batch.dead.len() as u64);
        }
        if batch.row_count > 0 {
            self.insert(&table.insert(), &token, batch.rows.into(), table).await;
            metrics::ROWS.counter(&labels).increment(batch.row_count as u64);
        }
        metrics::BATCHES.counter(&labels).increment(1);
        metrics::INSERT.histogram(&labels).record(since.elapsed());
    }

    /// Tries for ever: nothing here may drop a row, and whatever is wrong, someone can put it right.
    async fn insert(&self, sql: &str, token: &str, rows: Bytes, table: Table) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut trouble = self.troubles.of(token);
        while let Err(error) = self.attempt(sql, token, rows.clone()).await {
            metrics::FAILURES.counter(&[("table", table.name().to_owned())]).increment(1);
            trouble.tell(severity(&error), brief(&error.to_string()));
            backoff.wait().await;
        }
        trouble.over();
    }

    async fn attempt(&self, sql: &str, token: &str, rows: Bytes) -> Result<(), clickhouse::error::Error> {
        // Never closed, so a failure to get in cannot happen; holding nothing would only lift the bound.
        let _slot = self.slots.acquire().await;
        let client = self.client.clone().with_setting("insert_deduplication_token", token);
        let mut insert = client.insert_formatted_with(sql).with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
        insert.send(rows).await?;
        insert.end().await
    }

    /// Into the dead-letter topic, where a tool can replay from. May write one twice after a crash; the
    /// headers tell which message each is.
    async fn set_aside(&self, letters: &[DeadLetter], topic: &str, partition: i32, table: Table) {
        let to = table.topic().dead_letter_name(&self.prefix);
        let produce = |letter| self.produce(letter, &to, topic, partition);
        futures_util::stream::iter(letters).for_each_concurrent(LETTERS_AT_A_TIME, produce).await;
    }

    async fn produce(&self, letter: &DeadLetter, to: &str, topic: &str, partition: i32) {
        let (partition, offset) = (partition.to_string(), letter.offset.to_string());
        let values =
            [("reason", letter.reason.as_str()), ("topic", topic), ("partition", &partition), ("offset", &offset)];
        let headers = values
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let record = FutureRecord::to(to).key(&letter.key).payload(&letter.payload).headers(headers.clone());
            match self.producer.send(record, MESSAGE_TIMEOUT).await {
                Ok(_) => return,
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    return tracing::error!(
                        topic,
                        partition,
                        offset,
                        "too large for the dead-letter topic; the table has it"
                    );
                }
                Err(_) => backoff.wait().await,
            }
        }
    }
}

/// ClickHouse being away passes. Rows that it cannot read do not: our fault, or a schema of another version.
fn severity(error: &clickhouse::error::Error) -> Severity {
    // NO_SUCH_COLUMN_IN_TABLE, CANNOT_PARSE_INPUT, CANNOT_READ_ALL_DATA, TYPE_MISMATCH, INCORRECT_DATA, TOO_LARGE_STRING_SIZE
    const UNREADABLE: [&str; 6] = ["Code: 16.", "Code: 27.", "Code: 33.", "Code: 53.", "Code: 117.", "Code: 131."];
    let text = error.to_string();
    if UNREADABLE.iter().any(|code| text.contains(code)) { Severity::Lasting } else { Severity::Passing }
}

/// ClickHouse likes to quote the whole query.
fn brief(text: &str) -> String {
    text.chars().take(400).collect()
}
