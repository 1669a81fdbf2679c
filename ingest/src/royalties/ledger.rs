//! What closes read and write in ClickHouse.

use std::time::Duration;

use anyhow::Context;
use chrono::NaiveDate;
use clickhouse::{Client, Row, RowOwned, RowRead};
use serde::Deserialize;
use service::config::ClickHouseConfig;
use uuid::Uuid;

use super::{CORRECTED_DAYS, Close, Line};

/// A day of a large installation takes minutes; what takes an hour hangs.
const LONGEST: Duration = Duration::from_secs(3600);

const SETTINGS: [(&str, &str); 7] = [
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_insert", "enable"),
    ("max_execution_time", "3600"),
    // What is grouped beyond this goes to ClickHouse's disk.
    ("max_bytes_before_external_group_by", "1073741824"),
    // A close reads what this very run has written.
    ("select_sequential_consistency", "1"),
];

/// The attempts that count.
const COUNTED: &str = "SELECT close_day, argMin(attempt, (closed_at, attempt)) FROM royalty_closes GROUP BY close_day";

pub(super) struct Ledger {
    client: Client,
}

impl Ledger {
    pub(super) fn new(config: &ClickHouseConfig) -> Self {
        let client = service::clickhouse::client(config);
        Self { client: SETTINGS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value)) }
    }

    /// By ClickHouse's clock, so that every operator goes by the same.
    pub(super) async fn today(&self) -> anyhow::Result<NaiveDate> {
        let days: Vec<String> = self.ask("the day", "SELECT toString(toDate(now('UTC')))").await?;
        days.first().context("ClickHouse does not tell the day")?.parse().context("ClickHouse's day")
    }

    /// The days that are closed, in order.
    pub(super) async fn closes(&self) -> anyhow::Result<Vec<Close>> {
        #[derive(Row, Deserialize)]
        struct Found {
            day: String,
            attempt: String,
            closed_at: String,
            streams: u64,
            corrections: u64,
            heard_ms: u64,
        }
        let sql = format!(
            "SELECT toString(close_day) AS day, toString(attempt) AS attempt, \
             concat(replaceOne(toString(closed_at), ' ', 'T'), 'Z') AS closed_at, streams, corrections, heard_ms \
             FROM royalty_closes WHERE (close_day, royalty_closes.attempt) IN ({COUNTED}) ORDER BY close_day"
        );
        let found: Vec<Found> = self.ask("the closed days", &sql).await?;
        let close = |found: Found| {
            let Found { day, attempt, closed_at, streams, corrections, heard_ms } = found;
            anyhow::Ok(Close {
                day: day.parse()?,
                attempt: attempt.parse()?,
                closed_at,
                streams,
                corrections,
                heard_ms,
            })
        };
        found.into_iter().map(close).collect()
    }

    /// Every stream of the days from `from` to `day` that no close has paid.
    pub(super) async fn write_streams(&self, day: NaiveDate, from: NaiveDate, attempt: Uuid) -> anyhow::Result<()> {
        // A play may have been paid by a close as old as the oldest play that is looked at, and the longest play
        // (30 days) and what plays_of looks back (7) before that.
        let remembered = CORRECTED_DAYS + 40;
        let sql = format!(
            "INSERT INTO royalty_plays (close_day, attempt, play, play_day, track_id, app, heard_ms) \
             SELECT toDate('{day}'), toUUID('{attempt}'), play, play_day, track_id, app, heard_ms FROM ( \
                 SELECT sipHash128(app, session_id, track_id, play_id) AS play, toDate(started_at) AS play_day, \
                        track_id, app, heard_ms \
                 FROM plays_of(first_day = '{from}', last_day = '{day}') WHERE is_stream \
             ) WHERE play NOT IN ( \
                 SELECT play FROM royalty_plays \
                 WHERE close_day >= toDate('{day}') - {remembered} AND (close_day, royalty_plays.attempt) IN ({COUNTED}))"
        );
        self.run("write the streams", &sql).await
    }

    pub(super) async fn write_totals(&self, day: NaiveDate, attempt: Uuid) -> anyhow::Result<()> {
        let sql = format!(
            "INSERT INTO royalty_totals (close_day, attempt, play_day, track_id, app, streams, heard_ms) \
             SELECT close_day, attempt, play_day, track_id, app, count(), sum(royalty_plays.heard_ms) FROM royalty_plays \
             WHERE close_day = '{day}' AND attempt = '{attempt}' GROUP BY close_day, attempt, play_day, track_id, app"
        );
        self.run("write the totals", &sql).await
    }

    /// Makes this attempt the day's, unless another is: a token lets one row a day in.
    pub(super) async fn seal(&self, day: NaiveDate, attempt: Uuid, token: &str) -> anyhow::Result<()> {
        let sql = format!(
            "INSERT INTO royalty_closes (close_day, attempt, closed_at, streams, corrections, heard_ms) \
             SELECT toDate('{day}'), toUUID('{attempt}'), now64(3, 'UTC'), sum(t.streams), \
                    sumIf(t.streams, play_day < close_day), sum(t.heard_ms) \
             FROM royalty_totals AS t WHERE close_day = '{day}' AND attempt = '{attempt}'"
        );
        let client = self.client.clone().with_setting("insert_deduplication_token", token);
        within(client.query(&sql).execute()).await.context("cannot seal the close")
    }

    /// What runs have left that did not come to their end, or came second. It means nothing; should it stay, too.
    pub(super) async fn forget_others(&self, close: &Close) {
        for table in ["royalty_plays", "royalty_totals"] {
            let (day, attempt) = (close.day, close.attempt);
            let of_others = format!("close_day = '{day}' AND attempt != '{attempt}'");
            let found = self.ask::<u64>("leftovers", &format!("SELECT count() FROM {table} WHERE {of_others}")).await;
            if !found.is_ok_and(|counts| counts.first().is_some_and(|count| *count > 0)) {
                continue;
            }
            if let Err(error) = self.run("forget leftovers", &format!("DELETE FROM {table} WHERE {of_others}")).await {
                tracing::warn!(error = format!("{error:#}"), "rows of an unfinished close stay where they are");
            }
        }
    }

    pub(super) async fn lines(&self, close: &Close) -> anyhow::Result<Vec<Line>> {
        #[derive(Row, Deserialize)]
        struct Found {
            play_day: String,
            track_id: String,
            app: String,
            streams: u64,
            heard_ms: u64,
        }
        let sql = format!(
            "SELECT toString(t.play_day) AS play_day, track_id, app, streams, heard_ms FROM royalty_totals AS t \
             WHERE close_day = '{}' AND attempt = '{}' ORDER BY t.play_day DESC, streams DESC, track_id, app",
            close.day, close.attempt
        );
        let found: Vec<Found> = self.ask("a day's totals", &sql).await?;
        let line = |found: Found| {
            let Found { play_day, track_id, app, streams, heard_ms } = found;
            anyhow::Ok(Line { play_day: play_day.parse()?, track_id, app, streams, heard_ms })
        };
        found.into_iter().map(line).collect()
    }

    async fn ask<T: RowOwned + RowRead>(&self, what: &str, sql: &str) -> anyhow::Result<Vec<T>> {
        within(self.client.query(sql).fetch_all()).await.with_context(|| format!("cannot read {what}"))
    }

    async fn run(&self, what: &str, sql: &str) -> anyhow::Result<()> {
        within(self.client.query(sql).execute()).await.with_context(|| format!("cannot {what}"))
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, clickhouse::error::Error>>) -> anyhow::Result<T> {
    tokio::time::timeout(LONGEST, asked).await.context("no answer within an hour")?.map_err(Into::into)
}
