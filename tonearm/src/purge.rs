//! `tonearm purge`: tells the edges what is wrong.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use crate::fleet::{Fleet, FleetArgs, Said, code};
use crate::role::runtime;

/// A purge waits for a disk's sync.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Object keys of a bucket; of a web origin host/path?query
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Every key that begins so; may be repeated
    #[arg(long = "prefix", value_name = "TEXT")]
    prefixes: Vec<String>,
    /// Every answer whose Cache-Tag or Surrogate-Key has it; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Make stale instead of dropping: still served where the answer allows it, while the origin is asked or away
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if !options.all && options.keys.is_empty() && options.prefixes.is_empty() && options.tags.is_empty() {
        anyhow::bail!("nothing to purge: give keys, --prefix, --tag or --all");
    }
    let said = runtime()?.block_on(purge(options))?;
    let fine = said.iter().all(Said::is_success);
    if options.fleet.json {
        println!("{}", serde_json::to_string_pretty(&said)?);
    } else {
        said.iter().for_each(|said| tell(said, options.keys.len()));
    }
    Ok(code(fine))
}

async fn purge(options: &Options) -> anyhow::Result<Vec<Said>> {
    let fleet = Fleet::of(&options.fleet, PATIENCE).await?;
    let order = json!({
        "keys": options.keys, "prefixes": options.prefixes, "tags": options.tags,
        "all": options.all, "soft": options.soft,
    });
    let first = fleet.ask_all(Method::POST, "/v1/purge", Some(&order)).await;
    if fleet.edges.len() == 1 || !first.iter().all(Said::is_success) {
        return Ok(first);
    }
    // An edge that asks another one may have got there, just after its own purge, what was not purged yet.
    let again = fleet.ask_all(Method::POST, "/v1/purge", Some(&order)).await;
    let both = first.into_iter().zip(again);
    Ok(both.map(|(first, again)| if again.is_success() { first } else { again }).collect())
}

/// Of so many keys.
fn tell(said: &Said, keys: usize) {
    match &said.error {
        Some(error) => println!("{:<24}  failed: {error}", said.edge),
        None if keys == 0 => println!("{:<24}  purged", said.edge),
        None => println!("{:<24}  purged; {} of {keys} keys were held", said.edge, said.answer["purged"]),
    }
}
