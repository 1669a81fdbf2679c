//! `tonearm`: every role and every tool of Tonearm in one binary.

#[macro_use]
mod output;

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

use cli::{Cli, Command};
use tikv_jemallocator::Jemalloc;

/// Roles run for months, and what they hold comes and goes: of the C library's heaps a third was memory that nobody had
/// and the system did not get back.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
