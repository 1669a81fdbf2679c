//! Questions to ClickHouse whose memory is bounded there.

use std::time::Duration;

use anyhow::Context;
use clickhouse::{Client, RowOwned, RowRead};
use service::config::ClickHouseConfig;

/// A question over 13 months of a large installation takes minutes; one that takes an hour was not answered.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is grouped beyond 256 MiB goes to ClickHouse's disk; 2 GiB is what one question may hold at all.
const SETTINGS: [(&str, &str); 6] = [
    ("max_execution_time", "3600"),
    ("max_memory_usage", "2147483648"),
    ("max_bytes_before_external_group_by", "268435456"),
    ("max_bytes_before_external_sort", "268435456"),
    ("max_threads", "4"),
    // A range of offsets for each of very many partitions, or a number for each of very many processes.
    ("max_query_size", "16777216"),
];

#[derive(Clone)]
pub(crate) struct Store {
    client: Client,
}

impl Store {
    pub(crate) fn new(config: &ClickHouseConfig) -> Self {
        let client = service::clickhouse::client(config);
        Self { client: SETTINGS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value)) }
    }

    /// # Errors
    /// ClickHouse's own words, with what was asked for.
    pub(crate) async fn all<T: RowOwned + RowRead>(&self, what: &str, sql: &str) -> anyhow::Result<Vec<T>> {
        // A `?` would be a placeholder of the client's.
        let sql = sql.replace('?', "??");
        let answer = tokio::time::timeout(LONGEST, self.client.query(&sql).fetch_all()).await;
        answer.context("no answer in time").and_then(|rows| Ok(rows?)).with_context(|| format!("cannot ask for {what}"))
    }

    /// # Errors
    /// As [`Store::all`]; also when the answer has no row.
    pub(crate) async fn one<T: RowOwned + RowRead>(&self, what: &str, sql: &str) -> anyhow::Result<T> {
        self.all(what, sql).await?.into_iter().next().with_context(|| format!("no answer to {what}"))
    }
}
