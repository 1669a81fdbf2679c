//! `tonearm migrate`: topics, tables and views, created or brought up to date.

use anyhow::Context;
use serde::Serialize;
use service::clickhouse::Account;
use service::config::{AnalystConfig, ClickHouseConfig, KafkaConfig, Loader, LogConfig, PostgresConfig};

use crate::cli::RoleArgs;
use crate::role::runtime;

#[derive(Serialize)]
struct Config {
    log: LogConfig,
    kafka: KafkaConfig,
    postgres: PostgresConfig,
    clickhouse: ClickHouseConfig,
    analyst: AnalystConfig,
}

/// Safe to run again, and side by side with a running installation.
pub(crate) fn run(args: &RoleArgs) -> anyhow::Result<()> {
    let config = read(args)?;
    if args.print_config {
        print!("{}", toml::to_string_pretty(&config)?);
        return Ok(());
    }
    service::telemetry::start(&config.log);
    runtime()?.block_on(async {
        tokio::try_join!(
            async { service::kafka::create_topics(&config.kafka).await.context("Kafka") },
            async { service::postgres::migrate(&config.postgres).await.context("PostgreSQL") },
            async { service::clickhouse::migrate(&config.clickhouse).await.context("ClickHouse") },
        )?;
        follow_tracks(&config).await;
        create_analyst(&config).await
    })
}

/// An installation goes without names of tracks where ClickHouse cannot reach PostgreSQL.
async fn follow_tracks(config: &Config) {
    if let Err(error) = service::clickhouse::follow_tracks(&config.clickhouse, &config.postgres).await {
        tracing::warn!(error = format!("{error:#}"), "ClickHouse does not read the catalog's tracks from PostgreSQL");
    }
}

async fn create_analyst(config: &Config) -> anyhow::Result<()> {
    match service::clickhouse::create_analyst(&config.clickhouse, &config.analyst).await.context("ClickHouse")? {
        Account::Ready => tracing::info!(user = config.analyst.user, "analysts may ask ClickHouse"),
        Account::NotWanted => tracing::debug!("no account for analysts: analyst.password is not set"),
        Account::NotAllowed => tracing::warn!(
            clickhouse = config.clickhouse.user,
            "no account for analysts: this ClickHouse does not let its user manage access; give it access_management \
             and a local_directory among user_directories, or make the account yourself"
        ),
    }
    Ok(())
}

fn read(args: &RoleArgs) -> anyhow::Result<Config> {
    let mut loader = Loader::new(args.config.as_deref(), std::env::vars())?;
    let config = Config {
        log: loader.section(),
        kafka: loader.section(),
        postgres: loader.section(),
        clickhouse: loader.section(),
        analyst: loader.section(),
    };
    loader.finish()?;
    Ok(config)
}
