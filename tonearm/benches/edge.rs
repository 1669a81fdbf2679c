//! `make bench-edge`: the edge as anybody runs it (`--public`), beside nginx, Varnish and Apache Traffic Server.
//!
//! Every server is a cache on core 0 before the same web origin, which this program is; the load comes from core 1.
//! Rounds alternate between the servers, so that a noisy minute touches all of them; where it may, it makes a network of
//! its own for all of this (`support/network.rs`). `ONLY=warm`, `cold` or `many`
//! runs a part; `OBJECTS=1000000` says how many objects `many` goes up to.

#[path = "../support/mod.rs"]
mod support;

#[path = "edge/cold.rs"]
mod cold;
#[path = "edge/many.rs"]
mod many;
#[path = "edge/origin.rs"]
mod origin;
#[path = "edge/peers.rs"]
mod peers;
#[path = "edge/reader.rs"]
mod reader;
#[path = "edge/warm.rs"]
mod warm;

use anyhow::bail;
use origin::Origin;
use support::figure::publish;

fn main() -> anyhow::Result<()> {
    support::network::have_one()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let only = std::env::var("ONLY").unwrap_or_default();
    if !["", "warm", "cold", "many"].contains(&only.as_str()) {
        bail!("ONLY is {only}, and not warm, cold or many");
    }
    let wanted = |part: &str| only.is_empty() || only == part;
    let origin = Origin::start().await?;
    let mut figures = Vec::new();
    if wanted("warm") {
        figures.extend(warm::measure(&origin).await?);
    }
    if wanted("cold") {
        figures.extend(cold::measure(&origin).await?);
    }
    if wanted("many") {
        figures.extend(many::measure(&origin).await?);
    }
    publish("edge", &figures)
}
