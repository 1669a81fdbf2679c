//! `tonearm warm`: has the edges fetch objects before anyone asks, and tells how far they are.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::fleet::{Edge, Fleet, FleetArgs, Said, code};
use crate::role::runtime;

const PATIENCE: Duration = Duration::from_secs(30);

/// How often an edge is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// An edge that cannot be asked so often, such as one that starts again, has lost the order for us.
const MISSES: u32 = 60;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Object keys of a bucket; of a web origin host/path?query or URIs
    #[arg(value_name = "KEY", required_unless_present = "prefix", conflicts_with = "prefix")]
    keys: Vec<String>,
    /// Every key of the bucket that begins so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// What each edge asks of the origin a second at most, such as 20MB
    #[arg(long, value_name = "SIZE")]
    rate: Option<bytesize::ByteSize>,
    /// Give the order and print its id, without waiting for its end
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let said = runtime()?.block_on(warm(options))?;
    let fine = said.iter().all(|said| said.is_success() && said.answer["failed"].as_u64().unwrap_or(0) == 0);
    if options.fleet.json {
        println!("{}", serde_json::to_string_pretty(&said)?);
    } else {
        said.iter().for_each(tell);
    }
    Ok(code(fine))
}

async fn warm(options: &Options) -> anyhow::Result<Vec<Said>> {
    let fleet = Fleet::of(&options.fleet, PATIENCE).await?;
    let mut order = json!({ "wait": false });
    match &options.prefix {
        Some(prefix) => order["prefix"] = json!(prefix),
        None => order["keys"] = json!(options.keys),
    }
    if let Some(rate) = options.rate {
        order["bytes_per_s"] = json!(rate.as_u64());
    }
    let ordered = fleet.ask_all(Method::POST, "/v1/warm", Some(&order)).await;
    if options.detach {
        return Ok(ordered);
    }
    let shown = !options.fleet.json && std::io::stderr().is_terminal();
    let waiting = fleet.edges.iter().zip(ordered).map(|(edge, ordered)| wait(&fleet, edge, ordered, shown));
    Ok(join_all(waiting).await)
}

/// The order's end, or why it was not taken.
async fn wait(fleet: &Fleet, edge: &Edge, ordered: Said, shown: bool) -> Said {
    let Some(url) = ordered.answer["url"].as_str().filter(|_| ordered.is_success()) else { return ordered };
    let url = format!("{url}?limit=10000");
    let mut misses = 0;
    loop {
        let mut said = fleet.ask(edge, Method::GET, &url, None).await;
        misses = if said.status.is_none() { misses + 1 } else { 0 };
        let state = said.answer["state"].as_str();
        if state != Some("running") && (said.status.is_some() || misses > MISSES) {
            if state != Some("done") && said.error.is_none() {
                let why = said.answer["error"].as_str().unwrap_or("the order has not ended as it should");
                said.error = Some(why.to_owned());
            }
            return said;
        }
        if shown && said.status.is_some() {
            eprintln!("{:<24}  {} of {} keys", edge.name, said.answer["done"], of(&said.answer["keys"]));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn of(keys: &Value) -> String {
    keys.as_u64().map_or_else(|| "still to be listed".to_owned(), |keys| keys.to_string())
}

fn tell(said: &Said) {
    let answer = &said.answer;
    if let Some(error) = &said.error {
        println!("{:<24}  failed: {error}", said.edge);
    } else if answer["state"].is_null() {
        println!("{:<24}  ordered as {}", said.edge, answer["id"].as_str().unwrap_or_default());
    } else {
        let size = |field: &str| bytesize::ByteSize(answer[field].as_u64().unwrap_or(0));
        let (held, fetched) = (size("bytes"), size("fetched"));
        println!(
            "{:<24}  {} keys, {held} held, {fetched} fetched, {} failed",
            said.edge, answer["keys"], answer["failed"]
        );
    }
    for result in answer["results"].as_array().into_iter().flatten() {
        if let Some(error) = result["error"].as_str() {
            println!("{:<24}    {}: {error}", "", result["key"].as_str().unwrap_or_default());
        }
    }
}
