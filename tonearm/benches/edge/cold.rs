//! A cold cache: a crowd on one object, a range far into one, a seek beyond a running fill.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;

use crate::origin::{Asked, Origin};
use crate::peers::{self, Cache, Kind};
use crate::reader::Reader;
use crate::support::figure::{Figure, median};

const PEERS: [Kind; 5] = [Kind::Edge, Kind::NginxSendfile, Kind::NginxSlice, Kind::Varnish, Kind::Ats];
const CROWD: usize = 50;
const MIB: u64 = 1 << 20;
const RANGE: (u64, u64) = (24 * MIB, 24 * MIB + 65535);

/// What a cold question cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    ttfb_ms: f64,
    asked: Asked,
}

/// A figure's name, its unit, and where it stands.
type What = (&'static str, &'static str, fn(&Cost) -> f64);

struct Costs {
    kind: Kind,
    herd: Cost,
    range: Cost,
    again: Cost,
    seek: Cost,
}

pub(crate) async fn measure(origin: &Origin) -> anyhow::Result<Vec<Figure>> {
    let mut all = Vec::new();
    for kind in PEERS {
        let cache = peers::start(kind, &origin.url, peers::ROOM).await?;
        all.push(Costs {
            kind,
            herd: herd(&cache, origin).await?,
            range: range(&cache, origin).await?,
            again: range(&cache, origin).await?,
            seek: seek(&cache, origin).await?,
        });
    }
    // What the origin itself takes to its first byte is nothing beside these.
    Ok([
        row("50 on a cold 8 MiB of 4 s", &all, |costs| costs.herd, [25.0, 1.0, 8.0]),
        row("64 KiB at 24 of cold 32 MiB", &all, |costs| costs.range, [20.0, f64::MAX, 2.0]),
        row("... the same again", &all, |costs| costs.again, [20.0, 0.0, 0.0]),
        row("seek beyond a running fill", &all, |costs| costs.seek, [20.0, 3.0, 32.0 * 1.05]),
    ]
    .concat())
}

/// TTFB in ms, requests and MiB of the origin, each beside the best peer's and with its goal.
fn row(name: &str, all: &[Costs], cost: fn(&Costs) -> Cost, goals: [f64; 3]) -> Vec<Figure> {
    let whats: [What; 3] = [
        ("TTFB", "ms", |cost| cost.ttfb_ms),
        ("origin requests", "", |cost| cost.asked.requests as f64),
        ("origin MiB", "MiB", |cost| cost.asked.bytes as f64 / MIB as f64),
    ];
    let mut figures = Vec::new();
    for ((told, unit, what), goal) in whats.into_iter().zip(goals) {
        let of = |costs: &Costs| what(&cost(costs));
        let figure = Figure::new(format!("{name}, {told}"), of(&all[0]), unit);
        let best = all[1..].iter().min_by(|one, other| of(one).total_cmp(&of(other)));
        let figure = best.into_iter().fold(figure, |figure, best| figure.against(best.kind.name(), of(best)));
        figures.push(if goal < f64::MAX { figure.at_most(goal) } else { figure });
    }
    figures
}

/// A crowd at once on 8 MiB that take the origin 4 s.
async fn herd(cache: &Cache, origin: &Origin) -> anyhow::Result<Cost> {
    let readers = try_join_all((0..CROWD).map(|_| Reader::connect(&cache.url))).await?;
    origin.asked();
    let gets = readers.into_iter().map(|mut reader| async move { reader.get("/8388608/2097152/herd", None).await });
    let reads = try_join_all(gets).await?;
    ensure!(reads.iter().all(|read| read.bytes == 8 * MIB), "{} cut the herd's object", cache.kind.name());
    let ttfb = reads.iter().map(|read| millis(read.ttfb)).collect();
    Ok(Cost { ttfb_ms: median(ttfb), asked: origin.asked() })
}

/// A range of 32 MiB that take the origin 4 s, and what it fetches within a second after it.
async fn range(cache: &Cache, origin: &Origin) -> anyhow::Result<Cost> {
    let mut reader = Reader::connect(&cache.url).await?;
    origin.asked();
    let read = reader.get("/33554432/8388608/range", Some(RANGE)).await?;
    ensure!(read.bytes == 65536, "{} cut the range", cache.kind.name());
    // Some fetch the rest in the background.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(Cost { ttfb_ms: millis(read.ttfb), asked: origin.asked() })
}

/// Somebody plays 32 MiB that take the origin 8 s; after a second somebody else seeks to 24 MiB.
async fn seek(cache: &Cache, origin: &Origin) -> anyhow::Result<Cost> {
    const PATH: &str = "/33554432/4194304/seek";
    let (mut plays, mut seeks) = (Reader::connect(&cache.url).await?, Reader::connect(&cache.url).await?);
    origin.asked();
    let playing = tokio::spawn(async move { plays.get(PATH, None).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sought = seeks.get(PATH, Some(RANGE)).await?;
    let played = playing.await??;
    ensure!((sought.bytes, played.bytes) == (65536, 32 * MIB), "{} cut the fill", cache.kind.name());
    Ok(Cost { ttfb_ms: millis(sought.ttfb), asked: origin.asked() })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
