//! Whether anything grows with what is stored: memory at full load, and the CPU of ingest and sink for each event, over
//! as many events at as steady a pace, when 10⁴, 10⁵, 10⁶ and 10⁷ are stored. `EVENTS=` says how far it goes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clickhouse::Client;
use tokio::sync::mpsc;

use crate::poster;
use crate::support::figure::Figure;
use crate::support::process::{Core, Server};
use crate::support::stack::Stack;
use crate::support::traffic::{Plan, Traffic};

/// `EVENTS=` says otherwise. Half-way the sink's windows are full, which grow up to 600,000 events.
const EVENTS: usize = 2_000_000;
const STAGES: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const BATCH: usize = 100;
const CONNECTIONS: usize = 16;
/// Over these the CPU of a stage is measured, at this pace: the same pauses, the same batches.
const WINDOW: usize = 50_000;
const PACE: usize = 10_000;
/// Memory is read after each of so many parts of the whole.
const PARTS: usize = 20;
const STORED_WITHIN: Duration = Duration::from_secs(600);
const MOST_MB: f64 = 300.0;

struct Road {
    ingest: Server,
    sink: Server,
    addr: SocketAddr,
    client: Client,
    traffic: Option<Traffic>,
    posted: usize,
    memory: Vec<Memory>,
}

/// In MB.
struct Memory {
    ingest: f64,
    sink: f64,
}

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let events = std::env::var("EVENTS").map_or(Ok(EVENTS), |text| text.parse()).context("EVENTS is no number")?;
    let stack = Stack::start(Core::Any).await?;
    let mut road = Road::start(&stack).await?;
    let mut costs = Vec::new();
    for stage in STAGES.into_iter().filter(|stage| *stage <= events) {
        road.fill(stage, events).await?;
        costs.push((stage, road.cost().await?));
    }
    road.fill(events, events).await?;
    let mut figures = road.memory(events)?;
    let (_, least) = *costs.first().context("EVENTS is below the first stage")?;
    for (stage, cost) in costs {
        let figure = Figure::new(format!("ingest and sink, CPU at {stage} stored"), cost, "us/ev");
        figures.push(if stage == STAGES[0] { figure } else { figure.against("at 10000", least).ratio_at_most(1.1) });
    }
    Ok(figures)
}

impl Road {
    async fn start(stack: &Stack) -> anyhow::Result<Self> {
        let (ingest, url) = stack.role("ingest", &[]).await?;
        let (sink, _) = stack.role("sink", &[]).await?;
        let client = Client::default().with_url(&stack.servers.clickhouse_http).with_database(&stack.database);
        let traffic = Some(Traffic::new(Plan { listeners: 100_000, ..Plan::default() }));
        let addr = poster::address(&url)?;
        Ok(Self { ingest, sink, addr, client, traffic, posted: 0, memory: Vec::new() })
    }

    /// As fast as it goes, until so many are stored.
    async fn fill(&mut self, until: usize, whole: usize) -> anyhow::Result<()> {
        while self.posted < until {
            let part = (whole / PARTS).clamp(BATCH, until - self.posted);
            self.post(part, None).await?;
            let memory =
                Memory { ingest: self.ingest.resident_bytes()? / 1e6, sink: self.sink.resident_bytes()? / 1e6 };
            eprintln!("{} posted, ingest {:.0} MB, sink {:.0} MB", self.posted, memory.ingest, memory.sink);
            self.memory.push(memory);
        }
        self.stored().await
    }

    /// CPU of both for an event, in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "it is a window")]
    async fn cost(&mut self) -> anyhow::Result<f64> {
        let before = self.ingest.cpu_us()? + self.sink.cpu_us()?;
        self.post(WINDOW, Some(PACE)).await?;
        self.stored().await?;
        Ok((self.ingest.cpu_us()? + self.sink.cpu_us()? - before) / WINDOW as f64)
    }

    async fn post(&mut self, count: usize, pace: Option<usize>) -> anyhow::Result<()> {
        let (sender, requests) = mpsc::channel(2 * CONNECTIONS);
        let traffic = self.traffic.take().context("the traffic was lost")?;
        let making = tokio::task::spawn_blocking(move || make(traffic, &sender, count, pace));
        poster::post_all(self.addr, requests, CONNECTIONS).await?;
        self.traffic = Some(making.await?);
        self.posted += count;
        Ok(())
    }

    async fn stored(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STORED_WITHIN;
        loop {
            let rows: u64 = self.client.query("SELECT count() FROM events").fetch_one().await?;
            if rows >= self.posted as u64 {
                ensure!(rows == self.posted as u64, "{} events became {rows} rows", self.posted);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{rows} of {} rows are there", self.posted);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn memory(&self, events: usize) -> anyhow::Result<Vec<Figure>> {
        let mut figures = Vec::new();
        let half = self.memory.get(self.memory.len() / 2).context("EVENTS is too small")?;
        let last = self.memory.last().context("EVENTS is too small")?;
        for role in ["ingest", "sink"] {
            let mb = |memory: &Memory| if role == "sink" { memory.sink } else { memory.ingest };
            let most = self.memory.iter().map(mb).fold(0.0, f64::max);
            figures.push(Figure::new(format!("{role}, most memory of {events} events"), most, "MB").at_most(MOST_MB));
            let flat = Figure::new(format!("{role}, memory at their end"), mb(last), "MB");
            figures.push(flat.against("half-way", mb(half)).ratio_at_most(1.1));
        }
        Ok(figures)
    }
}

/// Requests of [`BATCH`] events, at so many events a second if there is a pace. A closed channel ends it: who posts
/// knows why.
fn make(mut traffic: Traffic, requests: &mpsc::Sender<Bytes>, count: usize, pace: Option<usize>) -> Traffic {
    let since = Instant::now();
    for done in (0..count).step_by(BATCH) {
        if let Some(pace) = pace {
            let due = Duration::from_micros((done * 1_000_000 / pace) as u64);
            std::thread::sleep(due.saturating_sub(since.elapsed()));
        }
        let batch: Vec<_> = traffic.by_ref().take(BATCH.min(count - done)).map(|accepted| accepted.event).collect();
        if requests.blocking_send(poster::request(&batch)).is_err() {
            break;
        }
    }
    traffic
}
