//! `tonearm dlq`: what was set aside, and sending it again.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use ingest::dlq::{Config, Filter, Letter, Progress};
use service::config::{Loader, LogConfig};
use wire::Timestamp;

use crate::cli::RoleArgs;
use crate::role::runtime;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count dead letters by day, topic and reason
    List(Options),
    /// Print the newest dead letters with their payloads
    Show {
        #[command(flatten)]
        options: Options,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Send dead letters to their topics again, each once, however often this is run
    Replay(Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: RoleArgs,
    /// Of this topic only, such as tonearm.listens.v1
    #[arg(long)]
    topic: Option<String>,
    /// Whose reason has these words
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
    /// Handed to Kafka since: 2026-11-20T09:00:00Z, a day, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(before(ago));
    }
    let whole = if text.len() == "2026-11-20".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let parsed = serde_json::from_value(serde_json::Value::String(whole));
    parsed.map_err(|_| format!("{text:?} is no time such as 2026-11-20T09:00:00Z, no day, and no duration such as 2h"))
}

fn before(ago: Duration) -> Timestamp {
    Timestamp::now().saturating_add_millis(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    let options = match &command {
        Command::List(options) | Command::Show { options, .. } | Command::Replay(options) => options,
    };
    let mut loader = Loader::new(options.common.config.as_deref(), std::env::vars())?;
    let (log, config): (LogConfig, Config) = (loader.section(), Config::read(&mut loader));
    loader.finish()?;
    if options.common.print_config {
        print!("{}", toml::to_string_pretty(&config)?);
        return Ok(());
    }
    service::telemetry::start(&log);
    let filter = Filter { topic: options.topic.clone(), reason: options.reason.clone(), since: options.since };
    runtime()?.block_on(async {
        match command {
            Command::List(_) => list(&config, &filter).await,
            Command::Show { limit, .. } => show(&config, &filter, limit).await,
            Command::Replay(_) => replay(&config, &filter).await,
        }
    })
}

async fn list(config: &Config, filter: &Filter) -> anyhow::Result<()> {
    let groups = ingest::dlq::list(config, filter).await?;
    if groups.is_empty() {
        println!("No dead letters.");
        return Ok(());
    }
    println!("{:<10}  {:>8}  {:>8}  {:<10}  {:<28}  REASON", "DAY", "LETTERS", "SENT", "KIND", "TOPIC");
    for group in groups {
        let reason = printable(&group.reason);
        println!(
            "{:<10}  {:>8}  {:>8}  {:<10}  {:<28}  {reason}",
            group.day, group.letters, group.sent, group.kind, group.topic
        );
    }
    Ok(())
}

async fn show(config: &Config, filter: &Filter, limit: usize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for Letter { place, received_at, kind, reason, key, payload } in ingest::dlq::show(config, filter, limit).await? {
        let key = printable(&String::from_utf8_lossy(&key));
        writeln!(out, "{place}  {received_at}  {kind}: {}\nkey {key}", printable(&reason))?;
        writeln!(out, "{}\n", printable(&String::from_utf8_lossy(&payload)))?;
    }
    Ok(())
}

async fn replay(config: &Config, filter: &Filter) -> anyhow::Result<()> {
    let tell = |progress: &Progress| eprintln!("{} of {} letters sent", progress.sent, progress.letters);
    let Progress { sent, found, unknown, .. } = ingest::dlq::replay(config, filter, tell).await?;
    println!("{sent} letters sent again; {found} had been sent by a run that was cut off.");
    if unknown > 0 {
        println!(
            "{unknown} may have been sent by a run that was cut off, which Kafka no longer tells: they are left alone."
        );
    }
    Ok(())
}

/// Nothing of a stranger's that would move the cursor.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_given_in_three_ways() {
        assert_eq!(since("2026-11-20"), since("2026-11-20T00:00:00Z"));
        assert!(Timestamp::now().millis_since(since("2h").unwrap()) >= 7_200_000);
        assert!(since("soon").is_err() && since("2026-13-20").is_err());
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\u{7}é"), "a\\u{1b}[2J\\u{7}é");
    }
}
