//! Hits of what is in memory: CPU a request, requests a second, and p99.

use anyhow::ensure;

use crate::origin::Origin;
use crate::peers::{self, Cache, Kind};
use crate::reader::Reader;
use crate::support::figure::{Figure, median};
use crate::support::wrk::{self, Load};

const ROUNDS: usize = 5;
const SECONDS: u32 = 3;
const MANY: usize = 2000;

struct Shape {
    name: &'static str,
    path: &'static str,
    size: u64,
    range: Option<(u64, u64)>,
    /// How many objects of it there are.
    objects: usize,
    /// CPU a request over the best peer's.
    goal: f64,
}

const SHAPES: [Shape; 5] = [
    Shape { name: "16 KiB", path: "/16384/0/a", size: 16 << 10, range: None, objects: 1, goal: 0.85 },
    Shape {
        name: "64 KiB range of 4 MiB",
        path: "/4194304/0/b",
        size: 4 << 20,
        range: Some((1 << 20, (1 << 20) + 65535)),
        objects: 1,
        goal: 0.85,
    },
    Shape { name: "2000 x 16 KiB", path: "/16384/0/m", size: 16 << 10, range: None, objects: MANY, goal: 0.85 },
    Shape { name: "256 KiB", path: "/262144/0/c", size: 256 << 10, range: None, objects: 1, goal: 1.0 },
    Shape { name: "4 MiB", path: "/4194304/0/b", size: 4 << 20, range: None, objects: 1, goal: 1.0 },
];

const PEERS: [Kind; 5] = [Kind::Edge, Kind::NginxSendfile, Kind::NginxCopying, Kind::Varnish, Kind::Ats];

pub(crate) async fn measure(origin: &Origin) -> anyhow::Result<Vec<Figure>> {
    let mut caches = Vec::new();
    for kind in PEERS {
        let cache = peers::start(kind, &origin.url, peers::ROOM).await?;
        for shape in &SHAPES {
            warm(&cache, shape).await?;
        }
        caches.push(cache);
    }
    let mut figures = Vec::new();
    for shape in &SHAPES {
        let mut loads: Vec<Vec<Load>> = caches.iter().map(|_| Vec::new()).collect();
        origin.asked();
        for _ in 0..ROUNDS {
            for (cache, loads) in caches.iter().zip(&mut loads) {
                loads.push(load(cache, shape)?);
            }
        }
        let asked = origin.asked().requests;
        ensure!(asked == 0, "{asked} requests of {} were no hits", shape.name);
        figures.extend(compare(shape, &caches, &loads));
    }
    Ok(figures)
}

/// Asks for each object three times: some store only what is asked for again.
async fn warm(cache: &Cache, shape: &Shape) -> anyhow::Result<()> {
    let mut reader = Reader::connect(&cache.url).await?;
    for _ in 0..3 {
        for object in 0..shape.objects {
            let path = if shape.objects == 1 { shape.path.to_owned() } else { format!("{}{object}", shape.path) };
            let read = reader.get(&path, None).await?;
            ensure!(read.bytes == shape.size, "{} answered {} bytes of {path}", cache.kind.name(), read.bytes);
        }
    }
    Ok(())
}

fn load(cache: &Cache, shape: &Shape) -> anyhow::Result<Load> {
    let url = format!("{}{}", cache.url, shape.path);
    let range = shape.range.map(|(first, last)| format!("Range: bytes={first}-{last}"));
    let headers: Vec<&str> = range.as_deref().into_iter().collect();
    match shape.objects {
        1 => wrk::run(&cache.server, &url, &headers, SECONDS),
        many => wrk::run_over(&cache.server, &url, many, SECONDS),
    }
}

type What = fn(&Load) -> f64;

const CPU_US: What = |load| load.cpu_us;
const KERNEL_US: What = |load| load.kernel_us;
const REQUESTS_S: What = |load| load.requests_s;
const P99_MS: What = |load| load.p99_ms;
const SHARE: What = |load| load.cpu_us * load.requests_s / 1e6;
const LOAD_SHARE: What = |load| load.load_share;

fn compare(shape: &Shape, caches: &[Cache], loads: &[Vec<Load>]) -> [Figure; 4] {
    let of = |at: usize, what: What| median(loads[at].iter().map(what).collect());
    let best = |what: What, better: fn(&f64, &f64) -> bool| {
        let is_better = |best: usize, at: usize| better(&of(at, what), &of(best, what));
        (2..caches.len()).fold(1, |best, at| if is_better(best, at) { at } else { best })
    };
    let figure = |told: &str, unit, what: What, best: usize| {
        let name = format!("{}, {told}", shape.name);
        Figure::new(name, of(0, what), unit).against(caches[best].kind.name(), of(best, what))
    };
    let (cheapest, fastest) = (best(CPU_US, f64::lt), best(REQUESTS_S, f64::gt));
    let (steadiest, idlest) = (best(P99_MS, f64::lt), best(SHARE, f64::lt));
    let kernel = || {
        let told = |at| format!("{:.1} of {:.1} us", of(at, KERNEL_US), of(at, CPU_US));
        format!("the kernel takes {}, of {} {}", told(0), caches[cheapest].kind.name(), told(cheapest))
    };
    let load = |peer: usize| {
        let told = |at| {
            let (rate, own, loads) = (of(at, REQUESTS_S), of(at, SHARE), of(at, LOAD_SHARE));
            format!("{rate:.0} req/s with {own:.2} of its core and {loads:.2} of the load's")
        };
        format!("{}; {} {}", told(0), caches[peer].kind.name(), told(peer))
    };
    [
        figure("CPU a request", "us", CPU_US, cheapest).ratio_at_most(shape.goal).because(kernel),
        figure("requests/s", "req/s", REQUESTS_S, fastest).ratio_at_least(1.1).because(|| load(fastest)),
        figure("p99", "ms", P99_MS, steadiest).ratio_at_most(1.0).because(|| load(steadiest)),
        // Where this is below 1 the server waits for the load, whose core it is that requests/s and p99 tell of.
        figure("of its core's time", "", SHARE, idlest),
    ]
}
