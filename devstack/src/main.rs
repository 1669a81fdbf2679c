//! `devstack`: `make up` and what stands behind it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

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

fn main() -> Result<()> {
    match Arguments::parse().command {
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
