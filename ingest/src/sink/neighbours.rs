//! Whether a table, as it is now, takes what lies around a row that it refused.
//!
//! One that was altered a moment ago may refuse this row or every row, and says the same. Its neighbours in Kafka
//! tell which: each is inserted, as the sink would, into a temporary table that has the columns and constraints of
//! the real one and keeps nothing.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clickhouse::Client;
use clickhouse::error::Error;
use uuid::Uuid;

use super::again::Stretch;
use super::insert::Job;
use super::rows::{Incoming, Table};
use super::store::Store;
use super::verdict::{self, Verdict};

/// To either side: more bad rows than these in succession wait until the table takes another one.
const REACH: i64 = 64;

const WITHIN: Duration = Duration::from_secs(60);

/// # Errors
/// When Kafka or ClickHouse does not tell.
pub(super) async fn are_taken(store: &Store, job: &Job) -> anyhow::Result<bool> {
    let (table, offset) = (job.table, job.batch.range.first);
    let (first, last) = (offset - REACH, offset + REACH);
    let around = Stretch { topic: job.topic.clone(), partition: job.partition, first, last };
    let row = move |message: &Incoming<'_>| {
        let mut row = Vec::new();
        let readable = message.offset != offset && table.append(message, &mut row).is_ok();
        readable.then(|| Bytes::from(row))
    };
    // The newest first: what is before may have been set aside as well.
    let rows = around.read(&store.letterbox.kafka, row).await?.into_iter().rev().flatten();
    let any = tokio::time::timeout(WITHIN, any_is_taken(&store.inserting, table, rows)).await;
    any.context("no answer in time")?.context("cannot see whether the table takes the rows around it")
}

async fn any_is_taken(client: &Client, table: Table, rows: impl Iterator<Item = Bytes>) -> Result<bool, Error> {
    const LIKE_IT: &str = "like_it";
    // What is temporary lives in a session, and ends with it.
    let client = client.clone().with_setting("session_id", Uuid::new_v4()).with_setting("session_timeout", "60");
    client.query(&format!("CREATE TEMPORARY TABLE {LIKE_IT} AS {} ENGINE = Null", table.name())).execute().await?;
    for row in rows {
        let (sql, sent) = table.insert_into(LIKE_IT, row, 1);
        let mut insert = client.insert_formatted_with(sql);
        insert.send(sent).await?;
        match insert.end().await {
            Ok(()) => return Ok(true),
            Err(error) if verdict::of(&error) == Verdict::Passing => return Err(error),
            Err(_) => {}
        }
    }
    Ok(false)
}
