//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::edge::EdgeArgs;
use crate::{audit, dlq, erase, keys, listen, objects, purge, royalties, sign, warm};

#[derive(Debug, Parser)]
#[command(
    name = "tonearm",
    version,
    about = "Routes listeners, serves audio from your own edges, counts what was heard"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Decide from which POP each listener streams
    Router(RoleArgs),
    /// Take play events and deliveries, and answer once Kafka has them
    Ingest(RoleArgs),
    /// Move events, deliveries and decisions from Kafka into ClickHouse, each once
    Sink(RoleArgs),
    /// Serve from memory, disk or the origin
    Edge(EdgeArgs),
    /// Keep the tracks, and warm the edges before a release is live
    Catalog(RoleArgs),
    /// Create or update topics, tables and views
    Migrate(RoleArgs),
    /// Create, list and revoke write keys of apps, tokens of users and of operators
    #[command(subcommand)]
    Keys(keys::Command),
    /// Prove that what was accepted is stored once, in the raw tables and in every view
    Audit(audit::Options),
    /// List, show and send again what was set aside
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Freeze a day's streams by track, and show what is to be paid
    #[command(subcommand)]
    Royalties(royalties::Command),
    /// Forget a listener: events, plays, dead letters; and store the proof
    Erase(erase::Options),
    /// Drop, or make stale, what edges hold: by key, prefix or tag
    Purge(purge::Options),
    /// Have edges fetch objects before anyone asks
    Warm(warm::Options),
    /// Show what edges hold of an object
    Objects(objects::Options),
    /// Make tokens of media URLs, and the keys for them
    #[command(subcommand)]
    Sign(sign::Command),
    /// Listen to a track as a player does
    Listen(listen::Options),
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// TOML file; TONEARM_<SECTION>_<KEY> in the environment stands over it
    #[arg(long, env = "TONEARM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the configuration in force, secrets hidden, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}
