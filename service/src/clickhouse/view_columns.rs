//! What the columns of materialized views say of themselves: the same as those of the table that the view fills.
//!
//! `CREATE MATERIALIZED VIEW` takes a column's comment only with its type, so that each would stand twice.

use anyhow::Context;
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use serde::Deserialize;

/// Columns that say nothing yet, by view.
const SILENT: &str = "SELECT views.name AS view, groupArray((silent.name, described.comment)) AS columns
FROM (
    SELECT name, splitByChar('.', extract(create_table_query, ' TO ([^ ]+)'))[-1] AS target
    FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'
) AS views
JOIN (SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()) AS silent
    ON silent.table = views.name
JOIN (SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()) AS described
    ON described.table = views.target AND described.name = silent.name
WHERE silent.comment = '' AND described.comment != ''
GROUP BY view
ORDER BY view";

#[derive(Row, Deserialize)]
struct Silent {
    view: String,
    columns: Vec<(String, String)>,
}

pub(super) async fn describe(client: &Client) -> anyhow::Result<()> {
    let silent: Vec<Silent> =
        client.query(SILENT).fetch_all().await.context("cannot read which columns ClickHouse's views have")?;
    for Silent { view, columns } in silent {
        let changes = vec!["COMMENT COLUMN ? ?"; columns.len()].join(", ");
        let mut alter = client.query(&format!("ALTER TABLE ? {changes}")).bind(Identifier(&view));
        for (name, comment) in &columns {
            alter = alter.bind(Identifier(name)).bind(comment);
        }
        alter.execute().await.with_context(|| format!("cannot say what the columns of {view} are"))?;
    }
    Ok(())
}
