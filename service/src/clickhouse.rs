//! ClickHouse: the client, and the schema's migrations.

mod analyst;
mod migrations;
mod tracks;
mod view_columns;

use anyhow::Context;
use clickhouse::Client;

use crate::config::ClickHouseConfig;

pub use analyst::{Account, analyst_statements, create_analyst, users_file};
pub use tracks::follow_tracks;

/// A client of the configured database. It keeps no connection while idle.
#[must_use]
pub fn client(config: &ClickHouseConfig) -> Client {
    server(config).with_database(&config.database)
}

fn server(config: &ClickHouseConfig) -> Client {
    Client::default().with_url(&config.url).with_user(&config.user).with_password(config.password.expose())
}

/// Creates the database and brings its schema up to date.
///
/// # Errors
/// When the server is away, or a statement of a migration fails, by name; or when a migration that
/// has been applied was changed afterwards.
pub async fn migrate(config: &ClickHouseConfig) -> anyhow::Result<()> {
    let create = format!("CREATE DATABASE IF NOT EXISTS {}", config.database);
    server(config).query(&create).execute().await.context("cannot create the ClickHouse database")?;
    let client = client(config);
    migrations::run(&client).await?;
    view_columns::describe(&client).await
}
