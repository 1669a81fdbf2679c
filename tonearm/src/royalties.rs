//! `tonearm royalties`: closes days and tells what they pay.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use ingest::royalties::{self, Close, Line};
use serde_json::json;
use service::config::{ClickHouseConfig, Loader, LogConfig};

use crate::role::runtime;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Freeze a UTC day that is over; what its events say later is paid by the next close
    Close {
        /// Such as 2026-11-20
        day: NaiveDate,
        #[command(flatten)]
        common: Common,
    },
    /// The days that are closed
    List {
        #[command(flatten)]
        common: Common,
    },
    /// What a closed day pays, by track and app
    Show {
        /// Such as 2026-11-20
        day: NaiveDate,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// TOML file; TONEARM_<SECTION>_<KEY> in the environment stands over it
    #[arg(long, env = "TONEARM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

impl Common {
    fn clickhouse(&self) -> anyhow::Result<ClickHouseConfig> {
        let mut loader = Loader::new(self.config.as_deref(), std::env::vars())?;
        let (log, clickhouse): (LogConfig, ClickHouseConfig) = (loader.section(), loader.section());
        loader.finish()?;
        service::telemetry::start(&log);
        Ok(clickhouse)
    }
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Close { day, common } => close(day, &common),
        Command::List { common } => list(&common),
        Command::Show { day, common } => show(day, &common),
    }
}

fn close(day: NaiveDate, common: &Common) -> anyhow::Result<()> {
    let config = common.clickhouse()?;
    let closed = runtime()?.block_on(royalties::close(&config, day))?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&closed)?);
        return Ok(());
    }
    println!("{}{}", closed.close, if closed.anew { "" } else { "\nIt was closed before; nothing was changed." });
    Ok(())
}

fn list(common: &Common) -> anyhow::Result<()> {
    let config = common.clickhouse()?;
    let closes = runtime()?.block_on(royalties::list(&config))?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&closes)?);
        return Ok(());
    }
    closes.iter().for_each(|close| println!("{close}"));
    Ok(())
}

fn show(day: NaiveDate, common: &Common) -> anyhow::Result<()> {
    let config = common.clickhouse()?;
    let (close, lines) = runtime()?.block_on(royalties::show(&config, day))?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&json!({"close": close, "lines": lines}))?);
    } else {
        print(&close, &lines);
    }
    Ok(())
}

fn print(close: &Close, lines: &[Line]) {
    println!("{close}\n\n{:<12} {:>10} {:>12}  {:<16} track", "play day", "streams", "heard s", "app");
    for Line { play_day, track_id, app, streams, heard_ms } in lines {
        let late = if *play_day < close.day { "  (correction)" } else { "" };
        println!(
            "{play_day:<12} {streams:>10} {:>12}  {app:<16} {track_id}{late}",
            heard_ms / 1000,
            play_day = play_day.to_string()
        );
    }
}
