//! Whether all of an insert has arrived, where that is not certain: an attempt failed, or another sink made one.
//!
//! ClickHouse notes a token in a table's deduplication log, and a moment later the rows become part of the table. Killed
//! in between it will take every further attempt for a repeat, and one table lacks what all others have. So an insert that
//! is not certain is looked for, in its table and behind each view over it, and what is missing is put there without a
//! token. Rows that are there already are not sent again, whatever the log says.
//!
//! A table of rows has their offsets, or `erased` has them. A view's target has in `upto` the highest offset that came into
//! a row, by partition: the batches of a partition come one after another, and a target takes of each a month's rows or
//! none, so it has this batch if it has the last offset of it. Where a target knows listeners, what is written down in
//! `erased` counts as not there, whether its rows are gone yet or not. Views without that column, which an operator may have made,
//! cannot be looked behind: where there are some, rows are sent again under their token.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::insert::Job;
use super::intent::Intent;
use super::metrics;
use super::rows::Table;
use super::store::{ASK_TIMEOUT, END_TIMEOUT, Insert, SEND_TIMEOUT, Store};
use crate::materialized::{Told, VIEWS, View};

/// What is put there has arrived, unless something takes it away again: the audit names that.
const PASSES: usize = 3;

/// Offsets of one batch that were forgotten and may be named one by one: a batch with more of them waits until their
/// rows have gone, which the erasure does next.
const MOST_FORGOTTEN: usize = 10_000;

/// Taken whatever ClickHouse remembers. The token only names it, for [`Whose::is_under_way`].
const NO_REPEATS: [(&str, &str); 4] =
    [("insert_deduplicate", "0"), ("deduplicate_insert", "disable"), ("async_insert", "0"), ("max_threads", "1")];

/// Something that an insert should have brought.
#[derive(Debug)]
enum Missing {
    Rows,
    /// To a view's target, of these received hours.
    InView(Kept, Vec<Hour>),
}

/// A view, and what of a batch its target is to have.
#[derive(Debug, Clone)]
struct Kept {
    view: View,
    /// Of the batch's rows: a condition over the view's source.
    rows: String,
}

#[derive(Row, Deserialize)]
struct Column {
    table: String,
    name: String,
}

#[derive(Debug, Row, Deserialize)]
struct Hour {
    /// Seconds since 1970.
    hour: u32,
    /// The highest offset in it. Of the batch's partition; below 0 where none came.
    last: i64,
}

/// Whether the table has all rows of the insert, and [`complete`] can do the rest.
///
/// # Errors
/// When ClickHouse does not answer.
pub(super) async fn has_rows(store: &Store, job: &Job, what: &Insert<'_>) -> anyhow::Result<bool> {
    let whose = Whose::of(store, job);
    Ok(whose.can_look_behind(what).await? && !whose.lacks_rows(what).await?)
}

/// Looks for what an insert brought, and puts there what it did not.
///
/// # Errors
/// When ClickHouse does not answer, or an earlier attempt is still under way: to be tried again.
pub(super) async fn complete(store: &Store, job: &Job, what: &Insert<'_>) -> anyhow::Result<()> {
    let mut lease = job.lease.clone();
    let whose = Whose::of(store, job);
    for _ in 0..PASSES {
        if whose.missing(what).await?.is_empty() {
            // Whoever began may have been killed before it was cleared away.
            return whose.order(&format!("DROP TABLE IF EXISTS {} SYNC", whose.beside(what.into))).await;
        }
        // What an attempt still brings is not missing; afterwards it is there, or never will be.
        ensure!(!whose.is_under_way(what).await?, "an earlier attempt is still under way");
        for missing in whose.missing(what).await? {
            let to = match &missing {
                Missing::Rows => what.into,
                Missing::InView(kept, _) => kept.view.target.as_str(),
            };
            tracing::warn!(to, token = what.token, "an insert was not all there; what is missing is put there");
            metrics::COMPLETED.counter(&[("table", to.to_owned())]).increment(1);
            match &missing {
                Missing::Rows => {
                    lease.hold().await;
                    whose.put_rows(what).await.context("cannot put rows in again")?;
                }
                Missing::InView(kept, hours) => {
                    for hour in hours {
                        lease.hold().await;
                        whose.put_into(kept, hour, what.token).await.context("cannot fill a view again")?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The batch whose insert it is.
struct Whose<'a> {
    client: &'a Client,
    table: Table,
    topic: &'a str,
    partition: i32,
    range: &'a Intent,
}

impl<'a> Whose<'a> {
    fn of(store: &'a Store, Job { table, topic, partition, batch, .. }: &'a Job) -> Self {
        Self { client: &store.asking, table: *table, topic, partition: *partition, range: &batch.range }
    }

    /// Rows of its offsets, in the table that the insert goes into.
    fn offsets(&self, into: &str) -> String {
        let Self { partition, range: Intent { first, last, .. }, topic, .. } = self;
        let topic = if into == self.table.name() { String::new() } else { format!(" AND topic = '{topic}'") };
        format!("_partition = {partition} AND _offset >= {first} AND _offset <= {last}{topic}")
    }

    /// Offsets that the table has, or had until a listener was forgotten.
    fn arrived(&self, into: &str) -> String {
        let Self { partition, range: Intent { first, last, .. }, topic, .. } = self;
        format!(
            "SELECT _offset FROM {into} WHERE {} UNION ALL SELECT _offset FROM erased WHERE topic = '{topic}' \
             AND from_table = '{into}' AND _partition = {partition} AND _offset >= {first} AND _offset <= {last}",
            self.offsets(into)
        )
    }

    async fn missing(&self, what: &Insert<'_>) -> anyhow::Result<Vec<Missing>> {
        let mut missing = Vec::new();
        if self.lacks_rows(what).await? {
            missing.push(Missing::Rows);
        }
        if self.has_views(what) && self.range.version >= Intent::UPTO {
            missing.extend(self.missing_in_views().await.context("cannot look behind the views")?);
        }
        Ok(missing)
    }

    async fn lacks_rows(&self, what: &Insert<'_>) -> anyhow::Result<bool> {
        let sql = format!("SELECT uniqExact(_offset) FROM ({})", self.arrived(what.into));
        let found: Vec<u64> = self.ask(&sql).await.context("cannot look for an insert's rows")?;
        Ok(found.into_iter().sum::<u64>() < what.count as u64)
    }

    /// Repeats and dead letters have none.
    fn has_views(&self, what: &Insert<'_>) -> bool {
        what.into == self.table.name()
    }

    async fn can_look_behind(&self, what: &Insert<'_>) -> anyhow::Result<bool> {
        if !self.has_views(what) {
            return Ok(true);
        }
        let (_, blind) = self.kept().await.context("cannot ask for the views")?;
        Ok(blind == 0 && self.range.version >= Intent::UPTO)
    }

    /// Those whose targets say what has come, and how many do not.
    async fn kept(&self) -> anyhow::Result<(Vec<Kept>, usize)> {
        let columns = "SELECT table, name FROM system.columns \
                       WHERE database = currentDatabase() AND name IN ('upto', 'user_id')";
        let columns: Vec<Column> = self.ask(columns).await?;
        let has = |view: &View, name| columns.iter().any(|column| column.name == name && column.table == view.target);
        let views: Vec<Told> = self.ask(VIEWS).await?;
        let views = views.iter().filter_map(Told::view);
        let ours: Vec<View> = views.filter(|view| view.source == self.table.name() && has(view, "upto")).collect();
        let all = self.offsets(self.table.name());
        let remembered = format!("{all}{}", self.but_forgotten(ours.iter().any(|view| has(view, "user_id"))).await?);
        let kept = |view: View| {
            let rows = if has(&view, "user_id") { remembered.clone() } else { all.clone() };
            Kept { view, rows }
        };
        let ours: Vec<Kept> = ours.into_iter().map(kept).collect();
        // With those that have a table inside, or are in another database.
        let all = format!(
            "SELECT length(dependencies_table) FROM system.tables WHERE database = currentDatabase() AND name = '{}'",
            self.table.name()
        );
        let all: u64 = self.ask::<u64>(&all).await?.into_iter().sum();
        let blind = usize::try_from(all)?.saturating_sub(ours.len());
        Ok((ours, blind))
    }

    /// The batch's offsets whose listeners were forgotten, as a condition that leaves them out: their rows may still
    /// be in the table when they have gone from the views' targets.
    async fn but_forgotten(&self, matters: bool) -> anyhow::Result<String> {
        let Self { partition, range: Intent { first, last, .. }, topic, .. } = self;
        if !matters {
            return Ok(String::new());
        }
        let source = self.table.name();
        let erased = format!(
            "SELECT DISTINCT _offset FROM erased WHERE topic = '{topic}' AND from_table = '{source}' \
             AND _partition = {partition} AND _offset >= {first} AND _offset <= {last} \
             AND _offset IN (SELECT _offset FROM {source} WHERE {})",
            self.offsets(source)
        );
        let erased: Vec<u64> = self.ask(&erased).await.context("cannot ask for what was erased")?;
        // They go into a URL.
        ensure!(erased.len() <= MOST_FORGOTTEN, "{} of its events are being erased", erased.len());
        Ok(if erased.is_empty() { String::new() } else { format!(" AND _offset NOT IN ({})", list(erased)) })
    }

    /// As far as the table has the rows.
    async fn missing_in_views(&self) -> anyhow::Result<Vec<Missing>> {
        let (source, partition) = (self.table.name(), self.partition);
        let (kept, _) = self.kept().await?;
        let mut missing = Vec::new();
        for kept in kept {
            let due = format!(
                "SELECT toUnixTimestamp(toStartOfHour(received_at)) AS hour, toInt64(max(_offset)) AS last \
                 FROM {source} WHERE {} GROUP BY hour",
                kept.rows
            );
            let due: Vec<Hour> = self.ask(&due).await?;
            if due.is_empty() {
                continue;
            }
            let hours = list(due.iter().map(|due| due.hour));
            let came = format!(
                "SELECT toUnixTimestamp(received_hour) AS hour, \
                 max(if(mapContains(upto, toUInt32({partition})), toInt64(upto[toUInt32({partition})]), -1)) AS last \
                 FROM {} WHERE received_hour IN ({hours}) GROUP BY hour",
                kept.view.target
            );
            let came: Vec<Hour> = self.ask(&came).await?;
            let came: HashMap<u32, i64> = came.into_iter().map(|came| (came.hour, came.last)).collect();
            let has = |due: &Hour| came.get(&due.hour).is_some_and(|last| *last >= due.last);
            let lacking: Vec<Hour> = due.into_iter().filter(|due| !has(due)).collect();
            if !lacking.is_empty() {
                missing.push(Missing::InView(kept, lacking));
            }
        }
        Ok(missing)
    }

    /// Whether ClickHouse still works on an attempt, of this sink or another.
    async fn is_under_way(&self, what: &Insert<'_>) -> anyhow::Result<bool> {
        let sql = "SELECT count() FROM system.processes WHERE Settings['insert_deduplication_token'] = ?";
        let asked = self.client.query(sql).bind(what.token).fetch_one::<u64>();
        let attempts = tokio::time::timeout(ASK_TIMEOUT, asked).await.context("no answer in time")?;
        Ok(attempts.context("cannot ask for attempts")? > 0)
    }

    /// Of this batch alone: a sink that was stopped in the midst finds its own, or none.
    fn beside(&self, into: &str) -> String {
        format!("again_{into}_{}_{}_{}", self.table.name(), self.partition, self.range.first)
    }

    /// By way of a table beside, for the views over this one may have had their share.
    async fn put_rows(&self, what: &Insert<'_>) -> anyhow::Result<()> {
        let (into, beside) = (what.into, self.beside(what.into));
        self.order(&format!("CREATE TABLE IF NOT EXISTS {beside} AS {into}")).await?;
        self.order(&format!("TRUNCATE TABLE {beside}")).await?;
        let sql = what.sql.replacen(&format!("INSERT INTO {into} "), &format!("INSERT INTO {beside} "), 1);
        let insert = self.sending(what.token).insert_formatted_with(sql);
        let mut insert = insert.with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
        insert.send(what.rows.clone()).await?;
        insert.end().await?;
        let there = format!("_offset IN ({})", self.arrived(into));
        self.order(&format!("ALTER TABLE {beside} DELETE WHERE {there} SETTINGS mutations_sync = 2")).await?;
        let months = format!(
            "SELECT DISTINCT partition_id FROM system.parts \
             WHERE database = currentDatabase() AND table = '{beside}' AND active AND rows > 0"
        );
        for month in self.ask::<String>(&months).await? {
            self.order(&format!("ALTER TABLE {into} ATTACH PARTITION ID '{month}' FROM {beside}")).await?;
        }
        self.order(&format!("DROP TABLE {beside} SYNC")).await
    }

    /// What the view makes of the batch's rows in this hour, if it still lacks them: this sink may have been stopped
    /// since it looked, and another have put them there.
    async fn put_into(
        &self,
        Kept { view, rows }: &Kept,
        Hour { hour, last }: &Hour,
        token: &str,
    ) -> anyhow::Result<()> {
        let columns = format!(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{}' ORDER BY position",
            view.name
        );
        let columns = self.ask::<String>(&columns).await?;
        let columns: Vec<String> = columns.iter().map(|column| format!("`{column}`")).collect();
        let (source, partition) = (self.table.name(), self.partition);
        let only = format!("{{'{source}': '{rows} AND toUnixTimestamp(toStartOfHour(received_at)) = {hour}'}}");
        let sql = format!(
            "INSERT INTO ? ({columns}) SELECT {columns} FROM ({}) WHERE (SELECT count() FROM ? \
             WHERE toUnixTimestamp(received_hour) = {hour} AND mapContains(upto, toUInt32({partition})) \
             AND upto[toUInt32({partition})] >= {last}) = 0",
            view.query.replace('?', "??"),
            columns = columns.join(", "),
        );
        let filled = self.sending(token).with_setting("additional_table_filters", only);
        let filled = filled.query(&sql).bind(Identifier(&view.target)).bind(Identifier(&view.target)).execute();
        Ok(tokio::time::timeout(ASK_TIMEOUT, filled).await.context("no answer in time")??)
    }

    fn sending(&self, token: &str) -> Client {
        let client = self.client.clone().with_setting("insert_deduplication_token", token);
        NO_REPEATS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value))
    }

    async fn order(&self, sql: &str) -> anyhow::Result<()> {
        let done = self.client.query(&sql.replace('?', "??")).execute();
        Ok(tokio::time::timeout(ASK_TIMEOUT, done).await.context("no answer in time")??)
    }

    async fn ask<T: clickhouse::RowOwned + clickhouse::RowRead>(&self, sql: &str) -> anyhow::Result<Vec<T>> {
        let answer = self.client.query(&sql.replace('?', "??")).fetch_all();
        Ok(tokio::time::timeout(ASK_TIMEOUT, answer).await.context("no answer in time")??)
    }
}

fn list(numbers: impl IntoIterator<Item = impl ToString>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}
