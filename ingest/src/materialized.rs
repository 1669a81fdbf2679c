//! Materialized views over raw tables, as ClickHouse tells of them.

use clickhouse::Row;
use serde::Deserialize;

/// Asks for [`Told`].
pub(crate) const VIEWS: &str = "SELECT name, create_table_query AS statement, as_select AS query FROM system.tables \
     WHERE database = currentDatabase() AND engine = 'MaterializedView' ORDER BY name";

/// Our own, and what they fill.
pub(crate) const OWN: [(&str, &str); 4] = [
    ("listen_states_from_events", "listen_states"),
    ("quality_states_from_events", "quality_states"),
    ("play_states_from_events", "play_states"),
    ("delivery_states_from_deliveries", "delivery_states"),
];

/// One of them in ClickHouse's words.
#[derive(Debug, Row, Deserialize)]
pub(crate) struct Told {
    name: String,
    statement: String,
    query: String,
}

/// One that keeps a target up to its source, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) source: String,
    /// What it makes of the source's rows; columns by name.
    pub(crate) query: String,
}

impl Told {
    /// None for one that is refreshed as a whole: it cannot drift from what it reads.
    pub(crate) fn view(&self) -> Option<View> {
        let (target, source) = target_and_source(&self.statement)?;
        let Self { name, query, .. } = self;
        Some(View { name: name.clone(), target: target.into(), source: source.into(), query: query.clone() })
    }
}

/// Of `CREATE MATERIALIZED VIEW db.v TO db.target (...) AS SELECT ... FROM db.source ...`.
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
