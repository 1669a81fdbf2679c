//! `tonearm audit`: proves that the numbers add up, or names what does not.

use std::process::ExitCode;

use clap::Args;
use ingest::audit::{Audit, Config, Grade, Hours};
use service::config::{Loader, LogConfig};
use wire::Timestamp;

use crate::cli::RoleArgs;
use crate::role::runtime;

/// Something is lost, doubled or counted otherwise than it is stored.
const OFF: u8 = 1;
/// It could not be judged, or not all of it.
const UNJUDGED: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: RoleArgs,
    /// The first hour, by when ingest received it: 2026-11-20T09:00:00Z, or a day; all that is kept otherwise
    #[arg(long, value_name = "HOUR", value_parser = Hours::parse)]
    from: Option<Timestamp>,
    /// The hour to stop before; otherwise up to now
    #[arg(long, value_name = "HOUR", value_parser = Hours::parse)]
    to: Option<Timestamp>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// 0 where it adds up, 1 where it does not, 2 where that could not be told.
pub(crate) fn run(options: &Options) -> ExitCode {
    match audit(options) {
        Ok(Grade::Holds) => ExitCode::SUCCESS,
        Ok(Grade::Off) => ExitCode::from(OFF),
        Ok(Grade::Unjudged) => ExitCode::from(UNJUDGED),
        Err(error) => {
            eprintln!("tonearm: {error:#}");
            ExitCode::from(UNJUDGED)
        }
    }
}

fn audit(options: &Options) -> anyhow::Result<Grade> {
    let mut loader = Loader::new(options.common.config.as_deref(), std::env::vars())?;
    let (log, config): (LogConfig, Config) = (loader.section(), Config::read(&mut loader));
    loader.finish()?;
    if options.common.print_config {
        print!("{}", toml::to_string_pretty(&config)?);
        return Ok(Grade::Holds);
    }
    service::telemetry::start(&log);
    let audit = runtime()?.block_on(ingest::audit::run(&config, Hours { from: options.from, to: options.to }))?;
    tell(&audit, options.json)?;
    Ok(audit.verdict)
}

fn tell(audit: &Audit, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(audit)?);
    } else {
        print!("{audit}");
    }
    Ok(())
}
