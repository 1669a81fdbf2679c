//! `tonearm migrate`: topics, tables and views, created or brought up to date.

use anyhow::Context;
use serde::Serialize;
use service::config::{ClickHouseConfig, KafkaConfig, Loader, LogConfig, PostgresConfig};

use crate::cli::RoleArgs;
use crate::role::runtime;

#[derive(Serialize)]
struct Config {
    log: LogConfig,
    kafka: KafkaConfig,
    postgres: PostgresConfig,
    clickhouse: ClickHouseConfig,
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
        )
    })?;
    Ok(())
}

fn read(args: &RoleArgs) -> anyhow::Result<Config> {
    let mut loader = Loader::new(args.config.as_deref(), std::env::vars())?;
    let config = Config {
        log: loader.section(),
        kafka: loader.section(),
        postgres: loader.section(),
        clickhouse: loader.section(),
    };
    loader.finish()?;
    Ok(config)
}
