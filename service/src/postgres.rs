//! PostgreSQL: a bounded pool, and the schema's migrations.

use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::config::PostgresConfig;

/// `migrations/postgres`: fleet, catalog, outbox.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// A pool that connects when it is first used, so that a role starts without PostgreSQL where it can.
///
/// # Errors
/// When the URL is none.
pub fn pool(config: &PostgresConfig) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = config.url.expose().parse().context("cannot read the PostgreSQL URL")?;
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        // A server that is away must not hold a request up for the default 30 s.
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy_with(options.application_name("tonearm")))
}

/// Brings the schema up to date; safe to run side by side.
///
/// # Errors
/// When the server is away or a migration fails, by name.
pub async fn migrate(config: &PostgresConfig) -> anyhow::Result<()> {
    let pool = pool(config)?;
    MIGRATIONS.run(&pool).await.context("cannot migrate PostgreSQL")?;
    pool.close().await;
    Ok(())
}
