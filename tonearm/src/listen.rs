//! `tonearm listen`: a real client, or a crowd of them.
//!
//! It asks the router, pings the candidates, reports what it measured, plays the HLS ladder with a
//! buffer whose stalls it measures, and posts play events that carry the decision's id. With
//! `--explain` it then shows the rows that ClickHouse holds of it.

mod buffer;
mod candidates;
mod crowd;
mod fetch;
mod options;
mod player;
mod playlist;
mod reporter;
mod rows;
mod story;
mod target;

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use service::client::ApiClient;
use service::config::LogConfig;
use wire::decision::RouteAnswer;
use wire::measurement::Measurements;

pub(crate) use options::Options;

use fetch::Fetcher;
use player::{Play, Played, Player};
use reporter::{Reported, Reporter};
use target::Target;

/// What edges and ingest see.
const USER_AGENT: &str = concat!("tonearm-listen/", env!("CARGO_PKG_VERSION"));

/// Longer than ingest's own wait for Kafka, so that its answer is heard and nothing is sent twice.
const API_TIMEOUT: Duration = Duration::from_secs(40);

/// One listen, whole.
#[derive(Debug, Serialize)]
pub(crate) struct Listen {
    track: String,
    answer: RouteAnswer,
    measured: Measurements,
    played: Played,
    events_accepted: usize,
    events_lost: Vec<String>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    service::telemetry::start(&LogConfig { level: "warn".into(), ..LogConfig::default() });
    let target = options.target()?;
    crate::role::runtime()?.block_on(async {
        if options.listeners > 1 {
            return crowd::run(&options, &target).await;
        }
        one(&options, &target).await
    })
}

async fn one(options: &Options, target: &Target) -> anyhow::Result<()> {
    let play = options.play(options.track.clone().context("--track is needed")?);
    if !options.json {
        story::opening(&play);
    }
    let listen = listen(&play, target, &Fetcher::new()).await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&listen)?);
    } else {
        story::told(&listen);
    }
    if options.explain {
        story::explained(&listen, target).await?;
    }
    anyhow::ensure!(listen.events_lost.is_empty(), "events were lost: {}", listen.events_lost.join("; "));
    Ok(())
}

/// The path of one listener.
async fn listen(play: &Play, target: &Target, fetcher: &Fetcher) -> anyhow::Result<Listen> {
    let router = ApiClient::new(API_TIMEOUT);
    let answer = candidates::ask(&router, &target.router, &play.track).await?;
    let measured = candidates::measure(fetcher, &answer).await;
    if let Err(error) = candidates::report(&router, &target.router, &measured).await {
        tracing::warn!(error = format!("{error:#}"), "the measurements were not taken");
    }
    let ingest = ApiClient::new(API_TIMEOUT).with_bearer(&target.write_key);
    let reporter = Reporter::start(ingest, &target.ingest);
    let played = Player::new(play, &answer, fetcher, &reporter).run().await;
    let Reported { accepted, lost } = reporter.finish().await;
    let played = played?;
    let track = play.track.clone();
    Ok(Listen { track, answer, measured, played, events_accepted: accepted, events_lost: lost })
}
