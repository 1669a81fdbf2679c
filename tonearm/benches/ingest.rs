//! `make bench-ingest`: what the road of events costs, beside the barest thing that does the same.
//!
//! The load comes from this process, which shares the machine with the servers and with what is measured: on two
//! cores, rates and waiting times tell how all of it goes together. CPU is that of the measured process alone.
//! `EVENTS=10000000` says how many events the long part stores; names after `--` choose parts.

#[path = "../support/mod.rs"]
mod support;

#[path = "ingest/batches.rs"]
mod batches;
#[path = "ingest/drain.rs"]
mod drain;
#[path = "ingest/growth.rs"]
mod growth;
#[path = "ingest/messages.rs"]
mod messages;
#[path = "ingest/poster.rs"]
mod poster;
#[path = "ingest/single.rs"]
mod single;
#[path = "ingest/visible.rs"]
mod visible;

use anyhow::ensure;
use support::figure::{Figure, publish};

const PARTS: [&str; 5] = ["batches", "single", "drain", "visible", "growth"];

fn main() -> anyhow::Result<()> {
    batches::become_producer_if_asked()?;
    single::become_server_if_asked()?;
    // Cargo says `--bench` as well.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let unknown = chosen.iter().find(|word| !PARTS.contains(&word.as_str()));
    ensure!(unknown.is_none(), "there is no part {}; there are {}", unknown.map_or("", |word| word), PARTS.join(", "));
    tokio::runtime::Runtime::new()?.block_on(run(&chosen))
}

async fn run(chosen: &[String]) -> anyhow::Result<()> {
    let mut figures = Vec::new();
    for part in PARTS.into_iter().filter(|part| chosen.is_empty() || chosen.iter().any(|word| word == part)) {
        eprintln!("{part}…");
        figures.extend(measure(part).await?);
    }
    // A part is no run: it would stand in the place of a whole one.
    publish(if chosen.is_empty() { "ingest" } else { "ingest-parts" }, &figures)
}

async fn measure(part: &str) -> anyhow::Result<Vec<Figure>> {
    match part {
        "batches" => Box::pin(batches::figures()).await,
        "single" => Box::pin(single::figures()).await,
        "drain" => Box::pin(drain::figures()).await,
        "visible" => Box::pin(visible::figures()).await,
        _ => Box::pin(growth::figures()).await,
    }
}
