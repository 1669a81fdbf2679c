//! Asking ClickHouse: read-only, in bounded time, a bounded number at a time.

use std::time::Duration;

use clickhouse::{Client, RowOwned, RowRead};
use tokio::sync::Semaphore;

/// Why there is no new answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("too many other questions wait for ClickHouse")]
    Busy,
    #[error("ClickHouse did not answer in time")]
    Slow,
    #[error("ClickHouse did not answer: {0}")]
    Failed(String),
}

/// Bytes; a question that needs more is refused by ClickHouse.
const MOST_MEMORY: &str = "1073741824";

pub(super) struct Store {
    client: Client,
    turns: Semaphore,
    timeout: Duration,
}

impl Store {
    /// `at_once` queries at a time; each may wait for its turn and run for `timeout`.
    pub(super) fn new(client: Client, at_once: usize, timeout: Duration) -> Self {
        let client = client
            // Settings may still be given along, and nothing be changed.
            .with_setting("readonly", "2")
            .with_setting("max_execution_time", timeout.as_secs().max(1).to_string())
            .with_setting("max_memory_usage", MOST_MEMORY)
            // A query that we no longer wait for is stopped.
            .with_setting("cancel_http_readonly_queries_on_client_close", "1");
        Self { client, turns: Semaphore::new(at_once), timeout }
    }

    /// The longest that an answer can take.
    pub(super) fn patience(&self) -> Duration {
        self.timeout * 2 + Duration::from_secs(1)
    }

    /// All rows of a query; `name` marks it in `system.query_log`.
    ///
    /// # Errors
    /// [`Trouble`] when ClickHouse is away, too slow, or refuses.
    pub(super) async fn rows<T: RowOwned + RowRead>(
        &self,
        name: &str,
        sql: &str,
        params: &[(&str, Param<'_>)],
    ) -> Result<Vec<T>, Trouble> {
        let turn = tokio::time::timeout(self.timeout, self.turns.acquire()).await.map_err(|_| Trouble::Busy)?;
        let _turn = turn.map_err(|_| Trouble::Busy)?;
        let mut query = self.client.query(sql).with_setting("log_comment", format!("stats:{name}"));
        for (name, value) in params {
            query = match value {
                Param::Text(text) => query.param(name, text),
                Param::Texts(texts) => query.param(name, texts),
                Param::Number(number) => query.param(name, number),
            };
        }
        match tokio::time::timeout(self.timeout, query.fetch_all::<T>()).await {
            Ok(rows) => rows.map_err(|error| failed(&error)),
            Err(_) => Err(Trouble::Slow),
        }
    }
}

/// A value for a `{name:Type}` of a query.
#[derive(Debug, Clone, Copy)]
pub(super) enum Param<'a> {
    Text(&'a str),
    Texts(&'a [String]),
    Number(i64),
}

/// ClickHouse's own words hold the query, and with it its parameters: only what kind of error it was may
/// reach a log.
fn failed(error: &clickhouse::error::Error) -> Trouble {
    use clickhouse::error::Error;
    match error {
        Error::BadResponse(words) => match words.split_whitespace().nth(1) {
            Some(code) if words.starts_with("Code:") => {
                if code.starts_with("159") {
                    return Trouble::Slow;
                }
                Trouble::Failed(format!("error {}", code.trim_end_matches('.')))
            }
            _ => Trouble::Failed("it refused the query".into()),
        },
        Error::Network(_) => Trouble::Failed("the connection failed".into()),
        Error::TimedOut => Trouble::Slow,
        other => Trouble::Failed(other.to_string()),
    }
}
