//! Statements to ClickHouse that return when they are done.

use std::time::Duration;

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::Deserialize;
use service::config::ClickHouseConfig;

pub(crate) struct Store {
    client: Client,
}

/// Rewriting 13 months of parts takes minutes; an hour without an answer is a failure.
const LONGEST: Duration = Duration::from_secs(3600);

/// By which an erasure's statements are known.
const COMMENT: &str = "tonearm erase";

const SETTINGS: [(&str, &str); 9] = [
    ("log_comment", COMMENT),
    // Return when it is done, on every replica.
    ("mutations_sync", "2"),
    ("lightweight_deletes_sync", "2"),
    ("lightweight_mutation_projection_mode", "rebuild"),
    // What a mutation asks (which offsets, which plays) is asked anew for each part; it may not change meanwhile,
    // and it does not: what it reads is written down before, and taken away after.
    ("allow_nondeterministic_mutations", "1"),
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("max_execution_time", "3600"),
    ("max_memory_usage", "2147483648"),
];

#[derive(Debug, Row, Deserialize)]
struct Number {
    n: u64,
}

impl Store {
    pub(crate) fn new(config: &ClickHouseConfig) -> Self {
        let client = service::clickhouse::client(config);
        Self { client: SETTINGS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value)) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends what ClickHouse still does for an erasure that was cut off: it would write down what we do.
    pub(super) async fn end_cut_off(&self) -> anyhow::Result<()> {
        let sql = format!(
            "KILL QUERY WHERE current_database = currentDatabase() AND query_kind != 'KillQuery' \
             AND Settings['log_comment'] = '{COMMENT}' SYNC"
        );
        self.run("end what an erasure that was cut off has under way", &sql).await
    }

    pub(crate) async fn run(&self, what: &str, sql: &str) -> anyhow::Result<()> {
        // A `?` would be a placeholder of the client's.
        let sql = sql.replace('?', "??");
        let done = tokio::time::timeout(LONGEST, self.client.query(&sql).execute()).await;
        done.context("no answer in time").and_then(|done| Ok(done?)).with_context(|| format!("cannot {what}"))
    }

    /// The only number of a query.
    pub(crate) async fn number(&self, what: &str, sql: &str) -> anyhow::Result<u64> {
        let sql = format!("SELECT toUInt64(assumeNotNull(({sql}))) AS n").replace('?', "??");
        let answer = tokio::time::timeout(LONGEST, self.client.query(&sql).fetch_one::<Number>()).await;
        let found = answer.context("no answer in time").and_then(|found| Ok(found?));
        Ok(found.with_context(|| format!("cannot count {what}"))?.n)
    }
}
