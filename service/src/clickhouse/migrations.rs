//! `migrations/clickhouse`, applied in order, each once.

use anyhow::{Context, bail};
use clickhouse::{Client, Row};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// In the order they are applied. A file that has been released is never edited: a new one follows it.
const MIGRATIONS: &[(&str, &str)] = &[];

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
            Some(_) => bail!("ClickHouse migration {name} was changed after it was applied; add a new one instead"),
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

/// Statements end with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n")
        .map(str::trim)
        .filter(|statement| statement.lines().any(|line| !line.trim_start().starts_with("--")))
        .filter(|statement| !statement.is_empty())
}

fn digest(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
