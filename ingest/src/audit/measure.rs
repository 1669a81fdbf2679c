//! What of a view is compared with what of its raw table.

use std::collections::HashSet;

use clickhouse::Row;
use serde::Deserialize;

use super::hours::Hours;
use super::store::Store;
use super::topics::TopicAudit;
use super::views::ViewAudit;

/// One number by received hour, as the raw table and as the view's target have it.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) view: String,
    pub(super) target: String,
    pub(super) name: &'static str,
    /// `hour, stored, rows` of the raw table, and `hour, counted` of the target; none where it has no such column.
    pub(super) sql: Option<(String, String)>,
}

#[derive(Debug, Row, Deserialize)]
struct View {
    name: String,
    statement: String,
}

#[derive(Debug, Row, Deserialize, PartialEq, Eq, Hash)]
struct Column {
    table: String,
    name: String,
}

/// One play of one track; as the view `plays` groups events.
const PLAY: &str = "app, session_id, track_id, play_id";

impl Measure {
    pub(super) async fn all(store: &Store, topics: &[TopicAudit], hours: Hours) -> anyhow::Result<Vec<Self>> {
        let views = "SELECT name, create_table_query AS statement FROM system.tables \
                     WHERE database = currentDatabase() AND engine = 'MaterializedView' ORDER BY name";
        let views: Vec<View> = store.all("the materialized views", views).await?;
        let columns = "SELECT table, name FROM system.columns WHERE database = currentDatabase() \
                       AND name IN ('received_hour', 'user_id', 'play_id', 'events', 'deliveries', 'decisions', 'tallies')";
        let columns: Vec<Column> = store.all("the columns of roll-ups", columns).await?;
        let columns: HashSet<(&str, &str)> = columns.iter().map(|of| (of.table.as_str(), of.name.as_str())).collect();
        let mut measures = Vec::new();
        for view in &views {
            let Some((target, source)) = target_and_source(&view.statement) else { continue };
            let Some(topic) = topics.iter().find(|topic| topic.table == source) else { continue };
            let has = |column: &str| columns.contains(&(target, column));
            let counts = [topic.table, "events"].into_iter().find(|column| has(column) && has("received_hour"));
            let measure = |name, sql| Self { view: view.name.clone(), target: target.to_owned(), name, sql };
            let rows = counts.map(|counts| {
                // What was forgotten is gone from a target that knows listeners; others keep their nameless sums.
                let forgotten = (!has("user_id")).then_some(topic.topic.as_str());
                (raw_rows(topic, forgotten, hours), counted(target, counts, hours))
            });
            measures.push(measure("rows", rows));
            if has("play_id") && counts.is_some() {
                measures.push(measure("plays", Some((raw_plays(topic, hours), plays(target, hours)))));
            }
        }
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

/// Of `CREATE MATERIALIZED VIEW db.v TO db.target (...) AS SELECT ... FROM db.source ...`; none of one that is
/// refreshed as a whole, for it cannot drift from what it reads.
fn target_and_source(statement: &str) -> Option<(&str, &str)> {
    let (head, select) = statement.split_once(" AS SELECT ").or_else(|| statement.split_once(" AS WITH "))?;
    if head.contains(" REFRESH ") {
        return None;
    }
    Some((name_after(" TO ", head)?, name_after(" FROM ", select)?))
}

/// The name after a keyword, without its database and its quotes.
fn name_after<'a>(keyword: &str, text: &'a str) -> Option<&'a str> {
    let (_, after) = text.split_once(keyword)?;
    let end = after.find(|c: char| c.is_whitespace() || c == '(' || c == ')').unwrap_or(after.len());
    let whole = &after[..end];
    Some(whole.rsplit('.').next().unwrap_or(whole).trim_matches('`'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_names_its_target_and_its_source() {
        let of = |statement| target_and_source(statement);
        let one = "CREATE MATERIALIZED VIEW t.v TO t.listen_states (`hour` DateTime('UTC'), `n` UInt64) \
                   AS SELECT toStartOfHour(event_ts) AS hour, count() AS n FROM t.events GROUP BY hour COMMENT 'x'";
        assert_eq!(of(one), Some(("listen_states", "events")));
        assert_eq!(of("CREATE MATERIALIZED VIEW v TO `b` AS SELECT 1 FROM `events`"), Some(("b", "events")));
        let refreshed = "CREATE MATERIALIZED VIEW t.v REFRESH EVERY 1 MINUTE TO t.b AS SELECT 1 FROM t.events";
        assert_eq!(of(refreshed), None);
        assert_eq!(of("CREATE TABLE t.a (n UInt8)"), None);
    }
}
