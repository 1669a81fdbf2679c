//! `migrations/clickhouse`, applied in order, each once.

use anyhow::{Context, bail};
use clickhouse::{Client, Row};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// In the order they are applied. A file that has been released is never edited: a new one follows it.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_raw.sql", include_str!("../../../migrations/clickhouse/0001_raw.sql")),
    ("0002_views.sql", include_str!("../../../migrations/clickhouse/0002_views.sql")),
    ("0003_rollups.sql", include_str!("../../../migrations/clickhouse/0003_rollups.sql")),
    ("0004_plays.sql", include_str!("../../../migrations/clickhouse/0004_plays.sql")),
    ("0005_rankings.sql", include_str!("../../../migrations/clickhouse/0005_rankings.sql")),
    ("0006_royalties.sql", include_str!("../../../migrations/clickhouse/0006_royalties.sql")),
    ("0007_top_by_country.sql", include_str!("../../../migrations/clickhouse/0007_top_by_country.sql")),
    ("0007_reconciliation.sql", include_str!("../../../migrations/clickhouse/0007_reconciliation.sql")),
    ("0008_tracks.sql", include_str!("../../../migrations/clickhouse/0008_tracks.sql")),
    ("0009_erasures.sql", include_str!("../../../migrations/clickhouse/0009_erasures.sql")),
    ("0010_tallies.sql", include_str!("../../../migrations/clickhouse/0010_tallies.sql")),
    ("0011_dead_letter_replays.sql", include_str!("../../../migrations/clickhouse/0011_dead_letter_replays.sql")),
    ("0012_arrivals.sql", include_str!("../../../migrations/clickhouse/0012_arrivals.sql")),
    ("0013_erased_sessions.sql", include_str!("../../../migrations/clickhouse/0013_erased_sessions.sql")),
    ("0014_erasures_left.sql", include_str!("../../../migrations/clickhouse/0014_erasures_left.sql")),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    name String COMMENT 'file under migrations/clickhouse',
    digest String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime DEFAULT now() COMMENT 'when it was applied'
) ENGINE = MergeTree ORDER BY name COMMENT 'migrations that this database has'";

#[derive(Row, Deserialize)]
struct Applied {
    name: String,
    digest: String,
}

/// Statements are idempotent (`IF NOT EXISTS`), for ClickHouse has no transaction around DDL: a run
/// that was cut off is simply run again.
pub(super) async fn run(client: &Client) -> anyhow::Result<()> {
    client.query(TABLE).execute().await.context("cannot create schema_migrations in ClickHouse")?;
    let applied: Vec<Applied> = client
        .query("SELECT name, digest FROM schema_migrations")
        .fetch_all()
        .await
        .context("cannot read schema_migrations in ClickHouse")?;
    for (name, sql) in MIGRATIONS {
        let digest = digest(sql);
        match applied.iter().find(|known| known.name == *name) {
            Some(known) if known.digest == digest => {}
            Some(_) => bail!(
                "ClickHouse migration {name} was changed after it was applied; add a new one instead, or `make reset` where the data may go"
            ),
            None => apply(client, name, sql, &digest).await.with_context(|| format!("ClickHouse migration {name}"))?,
        }
    }
    Ok(())
}

async fn apply(client: &Client, name: &str, sql: &str, digest: &str) -> anyhow::Result<()> {
    for statement in statements(sql) {
        // A `?` would be a placeholder of the client's.
        client.query(&statement.replace('?', "??")).execute().await?;
    }
    client
        .query("INSERT INTO schema_migrations (name, digest) VALUES (?, ?)")
        .bind(name)
        .bind(digest)
        .execute()
        .await?;
    tracing::info!(migration = name, "applied to ClickHouse");
    Ok(())
}

/// Statements end with a semicolon at the end of a line; one inside a line belongs to a text.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    sql.split_inclusive(";\n")
        .map(|statement| statement.trim().trim_end_matches(';'))
        .filter(move |statement| statement.lines().any(says_something))
}

fn digest(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_only_at_the_end_of_a_line() {
        let sql = "-- first;\n-- still first\nSELECT 'a; b'\n;\n\n-- nothing follows\n\nSELECT 2;";
        let all: Vec<&str> = statements(sql).collect();
        assert_eq!(all, ["-- still first\nSELECT 'a; b'\n", "-- nothing follows\n\nSELECT 2"]);
    }

    #[test]
    fn every_migration_can_be_run_again() {
        for (name, sql) in MIGRATIONS {
            for statement in statements(sql) {
                let replaces = statement.contains(" MODIFY QUERY\n");
                assert!(replaces || statement.contains(" IF NOT EXISTS "), "{name}: {statement}");
            }
        }
    }
}
