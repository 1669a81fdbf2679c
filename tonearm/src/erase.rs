//! `tonearm erase`: forgets a listener, and proves it.

use clap::Args;
use ingest::erase::Config;
use service::config::{Loader, LogConfig};

use crate::cli::RoleArgs;
use crate::role::runtime;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: RoleArgs,
    /// As the app names its users
    #[arg(long)]
    user: String,
    /// For machines
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut loader = Loader::new(options.common.config.as_deref(), std::env::vars())?;
    let (log, config): (LogConfig, Config) = (loader.section(), Config::read(&mut loader));
    loader.finish()?;
    if options.common.print_config {
        print!("{}", toml::to_string_pretty(&config)?);
        return Ok(());
    }
    service::telemetry::start(&log);
    let proof = runtime()?.block_on(ingest::erase::run(&config, &options.user))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&proof)?);
    } else {
        print!("{proof}");
    }
    anyhow::ensure!(proof.complete, "not all is gone: run it again");
    Ok(())
}
