//! Load reports: how busy this edge is, told to every router.

pub mod digest;
pub mod machine;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::Method;
use service::client::ApiClient;
use service::health::Status;
use service::{Health, Shutdown};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use wire::Timestamp;
use wire::held::HeldDigest;
use wire::load::LoadReport;

use crate::admin::drain::Drain;
use crate::config::EdgeConfig;
use crate::library::Library;
use crate::metrics::Metrics;
use crate::server::admission::{Admission, Shares};
use crate::server::counters::{Counters, Totals};
use machine::{Machine, Reading};

/// Measures, once an interval, and hands the newest report to the routers' senders.
#[derive(Debug)]
pub struct Reporter {
    pub edge: EdgeConfig,
    pub connections_max: u32,
    pub counters: Vec<Arc<Counters>>,
    pub drain: Drain,
    /// Told how full the edge is.
    pub admission: Arc<Admission>,
    pub library: Arc<Library>,
    pub metrics: Arc<Metrics>,
}

/// What was true at the last report.
struct Before {
    at: Instant,
    totals: Totals,
    reading: Reading,
}

impl Reporter {
    /// Reports until `ended`; from `draining` on every report says so, the first of them at once.
    pub async fn run(self, reports: watch::Sender<Option<LoadReport>>, draining: Shutdown, ended: Shutdown) {
        let machine = Machine::new();
        let started_at = Timestamp::now();
        let mut before = Before { at: Instant::now(), totals: self.totals(), reading: machine.read() };
        let mut ticks = tokio::time::interval(self.edge.report_interval.0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when nothing has been measured yet.
        ticks.tick().await;
        let mut told = false;
        for seq in 1.. {
            tokio::select! {
                () = ended.cancelled() => return,
                () = draining.cancelled(), if !told => told = true,
                _ = ticks.tick() => {}
            }
            let now = Before { at: Instant::now(), totals: self.totals(), reading: machine.read() };
            self.publish(&before.totals, &now.totals);
            let report = self.report(&machine, &before, &now);
            self.press(&report);
            let draining = draining.is_cancelled() || self.drain.is_on();
            reports.send_replace(Some(LoadReport { started_at, seq, draining, ..report }));
            before = now;
        }
    }

    fn totals(&self) -> Totals {
        Totals::of(self.counters.iter().map(AsRef::as_ref))
    }

    fn report(&self, machine: &Machine, before: &Before, now: &Before) -> LoadReport {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let per_second = |amount: u64| rate(amount, seconds);
        let (hits, misses) = (now.totals.hits - before.totals.hits, now.totals.misses - before.totals.misses);
        let sent_at = Timestamp::now();
        LoadReport {
            edge_id: self.edge.id.clone(),
            pop: self.edge.pop.clone(),
            started_at: sent_at,
            seq: 0,
            sent_at,
            cpu: machine.cpu_share(&before.reading, &now.reading, seconds),
            memory: machine.memory_share(&now.reading),
            disk_io_bytes_s: per_second(now.reading.disk_bytes.saturating_sub(before.reading.disk_bytes)),
            disk_capacity_bytes_s: self.edge.disk_capacity_bytes_s,
            connections: u32::try_from(now.totals.connections).unwrap_or(u32::MAX),
            connections_max: self.connections_max,
            network_out_bps: per_second(8 * (now.totals.body_bytes - before.totals.body_bytes)),
            network_capacity_bps: self.edge.capacity_bps,
            hit_ratio: ratio(hits, hits + misses),
            fills: u32::try_from(self.library.fills.load(Relaxed)).unwrap_or(u32::MAX),
            fill_backlog: self.admission.taken(),
            held: None,
            draining: false,
        }
    }

    fn press(&self, report: &LoadReport) {
        let connections = f64::from(report.connections) / f64::from(report.connections_max.max(1));
        let pressure = Shares { connections, cpu: report.cpu, memory: report.memory }.pressure();
        if pressure != self.admission.pressure() {
            tracing::info!(?pressure, connections, report.cpu, report.memory, "how full the edge is has changed");
        }
        self.admission.press(pressure);
    }

    /// What is counted by thread or by the cache becomes metrics here, once an interval.
    fn publish(&self, before: &Totals, now: &Totals) {
        let metrics = &self.metrics;
        metrics.requests.increment(now.requests - before.requests);
        metrics.hits.increment(now.hits - before.hits);
        metrics.misses.increment(now.misses - before.misses);
        metrics.body_bytes.increment(now.body_bytes - before.body_bytes);
        #[allow(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
        {
            metrics.connections.set(now.connections as f64);
            metrics.memory.set(self.library.cache.memory.bytes() as f64);
            metrics.disk.set(self.library.cache.disk_bytes() as f64);
            metrics.objects.set(self.library.cache.index.len() as f64);
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
fn rate(amount: u64, seconds: f64) -> u64 {
    (amount as f64 / seconds) as u64
}

#[allow(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Tells one router: one report under way at a time, and always the newest.
pub async fn send(
    url: String,
    client: ApiClient,
    mut reports: watch::Receiver<Option<LoadReport>>,
    digests: watch::Receiver<Option<Arc<HeldDigest>>>,
    outcome: Outcome,
) {
    let mut told = Told::default();
    while reports.changed().await.is_ok() {
        let Some(report) = reports.borrow_and_update().clone() else { continue };
        let digest = digests.borrow().clone().filter(|digest| told.lacks(digest.version, Instant::now()));
        let report = LoadReport { held: digest.as_deref().cloned(), ..report };
        let sent = client.send_json(Method::POST, &url, &report).await.and_then(service::client::Answer::success);
        if let (Ok(_), Some(digest)) = (&sent, digest) {
            told = Told { version: digest.version, at: Some(Instant::now()) };
        }
        outcome.tell(sent.map(drop));
    }
}

/// Which digest a router has.
#[derive(Debug, Default)]
struct Told {
    version: u64,
    at: Option<Instant>,
}

impl Told {
    /// A router that was started again has none, and does not say so.
    fn lacks(&self, version: u64, now: Instant) -> bool {
        version != self.version || self.at.is_none_or(|at| now - at >= DIGEST_AGAIN)
    }
}

/// After so long a router is told the same digest again.
const DIGEST_AGAIN: Duration = Duration::from_secs(30);

/// So many reports lie between two digests.
pub const REPORTS_A_DIGEST: u32 = 10;

/// How long a router may take for a report.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How the routers' senders fare, as one component of health.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub health: Health,
    pub metrics: Arc<Metrics>,
    /// One flag a router: whether its last report failed.
    pub failing: Arc<[std::sync::atomic::AtomicBool]>,
    pub router: usize,
}

impl Outcome {
    fn tell(&self, sent: anyhow::Result<()>) {
        let counter = if sent.is_ok() { &self.metrics.reports_sent } else { &self.metrics.reports_failed };
        counter.increment(1);
        self.failing[self.router].store(sent.is_err(), Relaxed);
        let failing = self.failing.iter().filter(|failing| failing.load(Relaxed)).count();
        let status = match (failing, sent) {
            (0, _) => Status::Ok,
            // Its reason changes only with the number, or every report would be a line in the log.
            (n, _) => Status::Degraded(format!("{n} of {} routers do not take load reports", self.failing.len())),
        };
        self.health.set("routers", status);
    }
}
