//! What of a view is compared with what of its raw table.

use std::collections::HashSet;

use clickhouse::Row;
use serde::Deserialize;

use super::hours::Hours;
use super::store::Store;
use super::topics::TopicAudit;
use super::views::ViewAudit;
use crate::materialized::{OWN, Told, VIEWS};

/// One number by received hour, as the raw table and as the view's target have it.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) view: String,
    pub(super) target: String,
    pub(super) name: &'static str,
    /// `hour, stored, rows` of the raw table, and `hour, counted` of the target; or why they cannot be compared.
    pub(super) sql: Result<(String, String), &'static str>,
}

#[derive(Debug, Row, Deserialize, PartialEq, Eq, Hash)]
struct Column {
    table: String,
    name: String,
}

const NO_COLUMNS: &str = "its target has no received_hour, or no column that counts raw rows";
/// Of our own views: each is known, so that none can be missed.
pub(super) const GONE: &str = "the view that fills it is gone";

/// One play of one track; as the view `plays` groups events.
const PLAY: &str = "app, session_id, track_id, play_id";

impl Measure {
    pub(super) async fn all(store: &Store, topics: &[TopicAudit], hours: Hours) -> anyhow::Result<Vec<Self>> {
        let views: Vec<Told> = store.all("the materialized views", VIEWS).await?;
        let columns = "SELECT table, name FROM system.columns WHERE database = currentDatabase() \
                       AND name IN ('received_hour', 'user_id', 'play_id', 'events', 'deliveries', 'decisions', 'tallies')";
        let columns: Vec<Column> = store.all("the columns of roll-ups", columns).await?;
        let columns: HashSet<(&str, &str)> = columns.iter().map(|of| (of.table.as_str(), of.name.as_str())).collect();
        let mut measures = Vec::new();
        for view in views.iter().filter_map(Told::view) {
            let Some(topic) = topics.iter().find(|topic| topic.table == view.source) else { continue };
            let target = view.target.as_str();
            let has = |column: &str| columns.contains(&(target, column));
            let counts = [topic.table, "events"].into_iter().find(|column| has(column) && has("received_hour"));
            let measure = |name, sql| Self { view: view.name.clone(), target: target.to_owned(), name, sql };
            let rows = counts.map(|counts| {
                // What was forgotten is gone from a target that knows listeners; others keep their nameless sums.
                let forgotten = (!has("user_id")).then_some(topic.topic.as_str());
                (raw_rows(topic, forgotten, hours), counted(target, counts, hours))
            });
            measures.push(measure("rows", rows.ok_or(NO_COLUMNS)));
            if has("play_id") && counts.is_some() {
                measures.push(measure("plays", Ok((raw_plays(topic, hours), plays(target, hours)))));
            }
        }
        let gone = OWN.iter().filter(|(view, _)| !measures.iter().any(|measure| measure.view == *view));
        let gone = gone.map(|(view, target)| Self {
            view: (*view).to_owned(),
            target: (*target).to_owned(),
            name: "rows",
            sql: Err(GONE),
        });
        let gone: Vec<Self> = gone.collect();
        measures.extend(gone);
        Ok(measures)
    }

    pub(super) fn audit(&self, unjudged: Option<&'static str>) -> ViewAudit {
        ViewAudit {
            view: self.view.clone(),
            target: self.target.clone(),
            measure: self.name,
            counted: 0,
            hours: 0,
            exact: 0,
            hours_off: 0,
            off: Vec::new(),
            unjudged,
        }
    }
}

/// Whether a row lies below the watermark of its partition.
fn below(topic: &TopicAudit) -> String {
    let (mut ids, mut ends) = (Vec::new(), Vec::new());
    for partition in &topic.partitions {
        ids.push(partition.place.partition.to_string());
        ends.push(format!("toUInt64({})", partition.place.committed.unwrap_or(0)));
    }
    format!("_offset < transform(_partition, [{}], [{}], toUInt64(0))", ids.join(", "), ends.join(", "))
}

fn raw_rows(topic: &TopicAudit, forgotten: Option<&str>, hours: Hours) -> String {
    let (table, range, below) = (topic.table, hours.sql("received_at"), below(topic));
    let forgotten = forgotten.map_or_else(String::new, |topic| {
        format!(
            " UNION ALL SELECT received_at AS at, 1 AS is_below FROM erased \
             WHERE topic = '{topic}' AND from_table = '{table}' AND {range}"
        )
    });
    format!(
        "SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, countIf(is_below) AS stored, count() AS rows \
         FROM (SELECT received_at AS at, {below} AS is_below FROM {table} WHERE {range}{forgotten}) GROUP BY hour"
    )
}

fn counted(target: &str, column: &str, hours: Hours) -> String {
    let range = hours.sql("received_hour");
    format!(
        "SELECT toUnixTimestamp(received_hour) AS hour, toUInt64(sum({column})) AS counted \
         FROM {target} WHERE {range} GROUP BY received_hour"
    )
}

fn raw_plays(topic: &TopicAudit, hours: Hours) -> String {
    let (table, range, below) = (topic.table, hours.sql("received_at"), below(topic));
    format!(
        "SELECT toUnixTimestamp(h) AS hour, countIf(is_below) AS stored, count() AS rows FROM (\
           SELECT toStartOfHour(received_at) AS h, max({below}) AS is_below FROM {table} WHERE {range} \
           GROUP BY h, {PLAY}) GROUP BY h"
    )
}

fn plays(target: &str, hours: Hours) -> String {
    let range = hours.sql("received_hour");
    format!(
        "SELECT toUnixTimestamp(h) AS hour, count() AS counted FROM (\
           SELECT received_hour AS h FROM {target} WHERE {range} GROUP BY h, {PLAY}) GROUP BY h"
    )
}
