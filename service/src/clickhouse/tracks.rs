//! The catalog's tracks in ClickHouse: a copy that ClickHouse itself reads from PostgreSQL every minute.
//!
//! A refreshable view and no dictionary: a refresh that fails leaves what was there, also over a restart, so
//! that questions are answered while PostgreSQL is away.

use anyhow::{Context, bail};
use clickhouse::Client;
use url::Url;

use super::client;
use crate::config::{ClickHouseConfig, PostgresConfig};

const VIEW: &str = "tracks_refresh";

/// Points the copy at this PostgreSQL. ClickHouse must reach it by the same address as we do.
///
/// # Errors
/// When ClickHouse refuses, or cannot reach PostgreSQL; the copy that is there stays.
pub async fn follow_tracks(clickhouse: &ClickHouseConfig, postgres: &PostgresConfig) -> anyhow::Result<()> {
    let source = source(postgres.url.expose())?;
    let client = client(clickhouse);
    // The address or the password may have changed.
    run(&client, &format!("DROP VIEW IF EXISTS {VIEW}"), &source.password).await?;
    let create = format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {VIEW} REFRESH EVERY 1 MINUTE TO tracks AS \
         SELECT track_id, title, artist, toUInt64(duration_ms) AS duration_ms, state FROM {} \
         COMMENT 'Reads tracks from PostgreSQL every minute.'",
        source.function()
    );
    run(&client, &create, &source.password).await?;
    super::view_columns::describe(&client).await
}

async fn run(client: &Client, sql: &str, secret: &str) -> anyhow::Result<()> {
    let done = client.query(&sql.replace('?', "??")).execute().await;
    done.map_err(|error| anyhow::anyhow!("{}", brief(&error.to_string(), secret)))
        .context("cannot follow the catalog's tracks")
}

/// Errors like to quote the statement, which has the password in it.
fn brief(text: &str, secret: &str) -> String {
    let hidden = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[HIDDEN]") };
    hidden.chars().take(400).collect()
}

struct Source {
    address: String,
    database: String,
    user: String,
    password: String,
}

impl Source {
    fn function(&self) -> String {
        let Self { address, database, user, password } = self;
        let arguments = [address, database, "tracks", user, password].map(quoted);
        format!("postgresql({})", arguments.join(", "))
    }
}

fn source(url: &str) -> anyhow::Result<Source> {
    let url: Url = url.parse().context("cannot read the PostgreSQL URL")?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty() && !host.starts_with("%2F")) else {
        bail!("ClickHouse reads PostgreSQL over TCP, and its URL names no host");
    };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    Ok(Source {
        address: format!("{host}:{}", url.port().unwrap_or(5432)),
        database: decoded(url.path().trim_start_matches('/')),
        user: decoded(url.username()),
        password: decoded(url.password().unwrap_or_default()),
    })
}

/// A literal of ClickHouse's.
pub(super) fn quoted(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_and_the_password_come_from_the_url() {
        let source = source("postgres://me:it%27s@db.example/music?sslmode=require").unwrap();
        assert_eq!(source.function(), r"postgresql('db.example:5432', 'music', 'tracks', 'me', 'it\'s')");
        assert!(super::source("postgres:///music").is_err());
    }

    #[test]
    fn an_error_does_not_tell_the_password() {
        assert_eq!(brief("near 'pw-1': no", "pw-1"), "near '[HIDDEN]': no");
    }
}
