//! Many objects: what a hit costs and what memory is taken, as their number grows.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;

use crate::origin::Origin;
use crate::peers::{self, Cache, Kind, Room};
use crate::reader::Reader;
use crate::support::figure::{Figure, median};
use crate::support::wrk;

/// `OBJECTS=` says otherwise.
const OBJECTS: usize = 100_000;
const FEW: usize = 1000;
const CONNECTIONS: usize = 16;
const SECONDS: u32 = 3;
const ROUNDS: usize = 5;
/// How long the disk may take to have everything, in seconds.
const REST_S: u32 = 300;
/// CPU of a second that is no work, in us.
const BUSY_US: f64 = 20_000.0;
/// Of 1 KiB: a million of them is a gigabyte.
const PATH: &str = "/1024/0/n";
/// All of them fit into memory: each hit is of the same tier.
const ROOMY: Room = Room { memory: "4GiB", disk: "16GiB" };
/// Served before memory is looked at, as a cache in use has.
const LARGE: u64 = 4 << 20;
const SERVED: u64 = 10 << 30;
const BUDGET_MIB: f64 = 256.0;
const TIGHT: Room = Room { memory: "256MiB", disk: "16GiB" };

pub(crate) async fn measure(origin: &Origin) -> anyhow::Result<Vec<Figure>> {
    let objects = std::env::var("OBJECTS").map_or(Ok(OBJECTS), |text| text.parse()).context("OBJECTS is no number")?;
    let mut figures = cpu_a_hit(origin, objects).await?;
    figures.push(memory(origin, objects).await?);
    Ok(figures)
}

const WHY: &str = "of many objects none is in the processor's caches, and a hit goes to seven places of memory, one after \
    another: index (two), object, head, memory's table (two), what counts who has the body";

/// At each power of a hundred, the last one as asked for, and in turns with an edge that has few: hours differ.
async fn cpu_a_hit(origin: &Origin, objects: usize) -> anyhow::Result<Vec<Figure>> {
    let (cache, other) =
        (peers::start(Kind::Edge, &origin.url, ROOMY).await?, peers::start(Kind::Edge, &origin.url, ROOMY).await?);
    fill(&other, 0..FEW).await?;
    let (mut figures, mut filled) = (Vec::new(), 0);
    for count in [100_000, 1_000_000].into_iter().filter(|count| *count < objects).chain([objects]) {
        fill(&cache, filled..count).await?;
        at_rest(&cache).await?;
        filled = count;
        let (mut among_many, mut among_few) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            among_few.push(hits(&other, FEW)?);
            among_many.push(hits(&cache, count)?);
        }
        let figure = Figure::new(format!("CPU a hit among {count}"), median(among_many), "us");
        figures.push(figure.against("among 1000", median(among_few)).ratio_at_most(1.1).because(|| WHY.to_owned()));
    }
    Ok(figures)
}

/// What each costs of the server's CPU, in us.
fn hits(cache: &Cache, among: usize) -> anyhow::Result<f64> {
    Ok(wrk::run_over(&cache.server, &format!("{}{PATH}", cache.url), among, SECONDS)?.cpu_us)
}

async fn memory(origin: &Origin, objects: usize) -> anyhow::Result<Figure> {
    let cache = peers::start(Kind::Edge, &origin.url, TIGHT).await?;
    fill(&cache, 0..objects).await?;
    let mut reader = Reader::connect(&cache.url).await?;
    for large in 0..SERVED / LARGE {
        // A working set twice the memory.
        let read = reader.get(&format!("/{LARGE}/0/large{}", large % 128), None).await?;
        ensure!(read.bytes == LARGE, "a large object was cut");
    }
    let goal = BUDGET_MIB * 1.1 + 32.0 + objects as f64 * 200.0 / f64::from(1 << 20);
    let name = format!("resident after {objects} objects and 10 GiB");
    Ok(Figure::new(name, cache.server.resident_bytes()? / f64::from(1 << 20), "MiB").at_most(goal.round()))
}

/// Waits until the cache has nothing more to do: what was fetched goes to the disk behind its back, and no hit is to
/// answer for that.
async fn at_rest(cache: &Cache) -> anyhow::Result<()> {
    for _ in 0..REST_S {
        let before = cache.server.cpu_us()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cache.server.cpu_us()? - before < BUSY_US {
            return Ok(());
        }
    }
    bail!("the cache was still at work after {REST_S} s");
}

/// Asks for each object once.
async fn fill(cache: &Cache, objects: std::ops::Range<usize>) -> anyhow::Result<()> {
    let readers = try_join_all((0..CONNECTIONS).map(|_| Reader::connect(&cache.url))).await?;
    let fills = readers.into_iter().enumerate().map(|(at, mut reader)| {
        let mine = objects.clone().skip(at).step_by(CONNECTIONS);
        async move {
            for object in mine {
                reader.get(&format!("{PATH}{object}"), None).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(fills).await.map(drop)
}
