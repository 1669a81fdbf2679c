//! `devstack`: `make up` and what stands behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use devstack::relay::{Distance, Relay, milliseconds};
use devstack::stack::{self, Manner};
use futures_util::future::try_join_all;

#[derive(Debug, Parser)]
#[command(about = "the real servers and every role of Tonearm on one machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the four servers, print where they are as JSON, and obey lines on stdin until it ends.
    Servers {
        #[arg(long)]
        dir: PathBuf,
        /// Kill the servers and remove the folder at the end.
        #[arg(long)]
        ephemeral: bool,
    },
    /// Start everything, play one listen, and stay until Ctrl-C.
    Up {
        /// Return when all is up; `down` stops it.
        #[arg(long, conflicts_with = "background")]
        detach: bool,
        #[arg(long, hide = true)]
        background: bool,
    },
    /// Stop what `up` started.
    Down,
    /// Stop it, and delete its data.
    Reset,
    /// Give an installation that something else started the demo's library and fleet.
    Demo {
        /// Where it listens, as `make up` writes it.
        #[arg(long)]
        endpoints: PathBuf,
    },
    /// Put servers at a distance; the options may be given several times, once for each.
    Relay(Relays),
    /// Become ClickHouse.
    #[command(hide = true)]
    Clickhouse {
        library: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Serve a folder as S3, keys from the environment.
    #[command(hide = true)]
    S3 {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[derive(Debug, clap::Args)]
struct Relays {
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long, required = true)]
    to: Vec<String>,
    /// Round trip, such as 24ms.
    #[arg(long, required = true, value_parser = milliseconds)]
    rtt: Vec<Duration>,
    /// Between the fastest and the slowest way.
    #[arg(long, required = true, value_parser = milliseconds)]
    jitter: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devstack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { detach: true, .. } => supervise(stack::up(Manner::Detach)),
        Command::Up { background: true, .. } => supervise(stack::up(Manner::Background)),
        Command::Up { .. } => supervise(stack::up(Manner::Foreground)),
        Command::Down => supervise(stack::hold::down(&devstack::folder::dot_tonearm())),
        Command::Reset => supervise(stack::reset()),
        Command::Demo { endpoints } => supervise(stack::demo(&endpoints)),
        Command::Relay(relays) => serve(relay(relays)),
        Command::Servers { dir, ephemeral } => supervise(servers(dir, ephemeral)),
        Command::Clickhouse { library, args } => devstack::clickhouse::serve_embedded(&library, &args),
        Command::S3 { dir, listen } => serve(s3(dir, listen)),
    }
}

/// On this thread alone: children are told of its death, so it must be the one that lives to the end.
fn supervise(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// On all cores.
fn serve(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn servers(dir: PathBuf, ephemeral: bool) -> Result<()> {
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    devstack::session::Session { dir: dir.canonicalize()?, ephemeral }.run().await
}

async fn s3(dir: PathBuf, listen: SocketAddr) -> Result<()> {
    let key = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    devstack::s3::serve(&dir, listen, key(devstack::s3::ACCESS_KEY)?, key(devstack::s3::SECRET_KEY)?).await
}

async fn relay(relays: Relays) -> Result<()> {
    let Relays { listen, to, rtt, jitter } = relays;
    let counts = [to.len(), rtt.len(), jitter.len()];
    ensure!(
        counts.iter().all(|count| *count == listen.len()),
        "give each of --listen, --to, --rtt and --jitter equally often"
    );
    let distances = rtt.into_iter().zip(jitter).map(|(round_trip, jitter)| Distance { round_trip, jitter });
    let relays = to.into_iter().zip(distances).map(|(to, distance)| Relay { to, distance });
    try_join_all(listen.into_iter().zip(relays).map(|(listen, relay)| relay.listen(listen))).await.map(drop)
}
