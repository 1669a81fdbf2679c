//! `tonearm`: every role and every tool of Tonearm in one binary.

mod audit;
mod cli;
mod dlq;
mod edge;
mod erase;
mod fleet;
mod keys;
mod listen;
mod migrate;
mod objects;
mod purge;
mod role;
mod royalties;
mod sign;
mod warm;

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

use cli::{Cli, Command};

/// Keeps what is small apart from what is large: an edge's chunks come and go between the objects that stay, and with the
/// system's allocator what goes leaves holes that nothing else fits into, as much again as the cache may take.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Memory that was given free goes back to the system after a second rather than ten.
#[allow(unsafe_code, reason = "the allocator reads its configuration from a symbol of this name before `main`")]
// SAFETY: nothing else has the name, and it is the text that jemalloc expects, with its end.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_CONFIG: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tonearm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        // Commands whose exit codes say more than whether they failed.
        Command::Audit(options) => return Ok(audit::run(&options)),
        Command::Purge(options) => return purge::run(&options),
        Command::Warm(options) => return warm::run(&options),
        Command::Objects(options) => return objects::run(&options),
        Command::Router(args) => role::run(&args, router::Config::read, router::start),
        Command::Ingest(args) => role::run(&args, ingest::Config::read, ingest::start),
        Command::Sink(args) => role::run(&args, ingest::sink::Config::read, ingest::sink::start),
        Command::Edge(args) => {
            let environment = args.environment(std::env::vars());
            role::run_in(&args.role, environment, cdn_edge::Config::read, cdn_edge::start)
        }
        Command::Catalog(args) => role::run(&args, catalog::Config::read, catalog::start),
        Command::Migrate(args) => migrate::run(&args),
        Command::Keys(command) => keys::run(command),
        Command::Dlq(command) => dlq::run(command),
        Command::Royalties(command) => royalties::run(command),
        Command::Erase(options) => erase::run(&options),
        Command::Sign(command) => sign::run(&command),
        Command::Listen(options) => listen::run(options),
    }?;
    Ok(ExitCode::SUCCESS)
}
