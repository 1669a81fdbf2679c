//! A crowd over the library: some tracks are loved, most are not.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::distr::weighted::WeightedIndex;
use rand::prelude::Distribution;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;

use super::fetch::Fetcher;
use super::options::Options;
use super::target::Target;
use super::{Listen, listen};

/// Zipf's exponent of music libraries, as router.md's simulation takes it.
const ZIPF: f64 = 0.85;
/// Listeners a second that arrive; a crowd that comes in one instant measures connects, not plays.
const ARRIVALS_PER_S: f64 = 100.0;

/// The summary of a crowd.
#[derive(Debug, Default, Serialize)]
struct Summary {
    listeners: u32,
    failed: u32,
    startup_p50_ms: f64,
    startup_p95_ms: f64,
    stalls: usize,
    heard_s: u64,
    bytes: usize,
    responses: usize,
    hits: usize,
    events_accepted: usize,
    events_lost: usize,
    listeners_by_edge: BTreeMap<String, u32>,
    /// Each different failure, once.
    failures: BTreeMap<String, u32>,
}

pub(super) async fn run(options: &Options, target: &Target) -> anyhow::Result<()> {
    let tracks = match &options.track {
        Some(track) => vec![track.clone()],
        None => target.library().await?,
    };
    let listens = gather(options, target, &tracks).await;
    let summary = summarise(listens);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        print(&summary);
    }
    anyhow::ensure!(summary.failed == 0, "{} of {} listeners failed", summary.failed, summary.listeners);
    anyhow::ensure!(summary.events_lost == 0, "{} events were lost", summary.events_lost);
    Ok(())
}

async fn gather(options: &Options, target: &Target, tracks: &[String]) -> Vec<anyhow::Result<Listen>> {
    let mut random = StdRng::seed_from_u64(options.seed);
    #[allow(clippy::cast_precision_loss, reason = "a library has fewer than 2^52 tracks")]
    let weights = (1..=tracks.len()).map(|rank| (rank as f64).powf(-ZIPF));
    let popularity = WeightedIndex::new(weights).expect("there is a track and every weight is positive");
    let mut crowd = JoinSet::new();
    for _ in 0..options.listeners {
        let play = options.play(tracks[popularity.sample(&mut random)].clone());
        let target = target.clone();
        // A fetcher each: listeners share no connections.
        crowd.spawn(async move { Box::pin(listen(&play, &target, &Fetcher::new())).await });
        let pause = random.random_range(0.0..2.0 / ARRIVALS_PER_S);
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }
    crowd.join_all().await
}

fn summarise(listens: Vec<anyhow::Result<Listen>>) -> Summary {
    let mut summary = Summary::default();
    let mut startups = Vec::new();
    for listen in listens {
        summary.listeners += 1;
        match listen {
            Ok(listen) => {
                startups.push(listen.played.startup_ms);
                summary.add(&listen);
            }
            Err(error) => {
                summary.failed += 1;
                *summary.failures.entry(format!("{error:#}")).or_default() += 1;
            }
        }
    }
    startups.sort_by(f64::total_cmp);
    summary.startup_p50_ms = quantile(&startups, 50);
    summary.startup_p95_ms = quantile(&startups, 95);
    summary
}

impl Summary {
    fn add(&mut self, listen: &Listen) {
        let played = &listen.played;
        self.stalls += played.stalls_ms.len();
        self.heard_s += played.heard_ms / 1000;
        self.bytes += played.served.iter().map(|served| served.bytes).sum::<usize>();
        self.responses += played.served.len();
        self.hits += played.served.iter().filter(|served| served.was_hit()).count();
        self.events_accepted += listen.events_accepted;
        self.events_lost += listen.events_lost.len();
        if let Some(last) = played.served.last() {
            *self.listeners_by_edge.entry(last.edge.to_string()).or_default() += 1;
        }
    }
}

/// The value below which `percent` of the sorted values lie; 0 where there are none.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "shares and megabytes for people")]
fn print(summary: &Summary) {
    let hit_ratio = 100.0 * summary.hits as f64 / summary.responses.max(1) as f64;
    println!("{} listeners, {} failed", summary.listeners, summary.failed);
    println!("  start-up   p50 {:.0} ms, p95 {:.0} ms", summary.startup_p50_ms, summary.startup_p95_ms);
    println!("  heard      {} s, {} stalls", summary.heard_s, summary.stalls);
    println!(
        "  delivered  {:.1} MB in {} responses, {hit_ratio:.1} % hits",
        summary.bytes as f64 / 1e6,
        summary.responses
    );
    println!("  events     {} accepted, {} lost", summary.events_accepted, summary.events_lost);
    for (edge, listeners) in &summary.listeners_by_edge {
        println!("  {edge:<10} {listeners} listeners");
    }
    for (failure, times) in &summary.failures {
        println!("  failed {times} x: {failure}");
    }
}
