//! Active probes: every edge pinged by HTTP, and by ICMP where it says so and a socket can be had.
//!
//! Each edge has one task for each kind, so that one probe of a kind is in flight at a time: a slow
//! edge is probed less often, and no probes pile up. Each probe has a time limit.

mod estimator;
mod http;
mod icmp;
mod liveness;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use service::Shutdown;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use wire::EdgeId;

pub use estimator::{Estimator, WINDOW};
pub use liveness::Liveness;

use crate::fleet::{Fleet, Site};
use crate::meters::PROBES;
use crate::signals::{Live, Signals};
use crate::snapshot::Snapshots;

/// How one probe ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// With its round trip in milliseconds, unless that says nothing of the network.
    Answered(Option<f64>),
    Lost,
}

/// Keeps one set of probing tasks per edge of the current fleet.
pub(crate) struct Prober {
    interval: Duration,
    timeout: Duration,
    icmp: icmp::Sockets,
    running: HashMap<EdgeId, Running>,
}

#[derive(Debug)]
struct Running {
    /// Whose signals the tasks write: an edge that was moved or made anew has others.
    live: Arc<Live>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Prober {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, icmp: icmp::Sockets::open(), running: HashMap::new() }
    }

    /// Follows the fleet until `shutdown`.
    pub(crate) async fn run(mut self, snapshots: Arc<Snapshots>, shutdown: Shutdown) {
        let mut versions = snapshots.versions();
        loop {
            self.follow(&snapshots.current().fleet);
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = versions.changed() => if changed.is_err() { return },
            }
        }
    }

    fn follow(&mut self, fleet: &Fleet) {
        self.running.retain(|id, running| fleet.find(id).is_some_and(|site| Arc::ptr_eq(&site.live, &running.live)));
        for site in fleet.edges() {
            if !self.running.contains_key(&site.edge.edge_id) {
                let tasks = self.spawn(site);
                self.running.insert(site.edge.edge_id.clone(), Running { live: site.live.clone(), tasks });
            }
        }
    }

    fn spawn(&self, site: &Site) -> Vec<AbortHandle> {
        let http = http::Ping::new(&site.ping, self.timeout);
        let icmp = site.edge.icmp_host.and_then(|host| self.icmp.ping(host, self.timeout));
        let mut tasks = vec![tokio::spawn(repeat(http, self.interval, site.edge.edge_id.clone(), site.live.clone()))];
        if let Some(icmp) = icmp {
            tasks.push(tokio::spawn(repeat(icmp, self.interval, site.edge.edge_id.clone(), site.live.clone())));
        }
        tasks.into_iter().map(|task| task.abort_handle()).collect()
    }
}

/// One kind of probe of one edge.
trait Probe {
    const KIND: &'static str;

    fn probe(&mut self) -> impl Future<Output = Outcome> + Send;

    /// Puts down what the probe says of the edge.
    fn note(signals: &mut Signals, outcome: Outcome);
}

/// Probes for as long as the task is left alone; starts at a random moment of the interval's first half,
/// so that a fleet is not probed in one burst.
async fn repeat<P: Probe>(mut probe: P, interval: Duration, edge: EdgeId, live: Arc<Live>) {
    let count = |result: &str| PROBES.counter(&[("kind", P::KIND.into()), ("result", result.into())]);
    let (answered, lost) = (count("answered"), count("lost"));
    let phase = interval.mul_f64(rand::rng().random_range(0.0..0.5));
    tokio::time::sleep(phase).await;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = probe.probe().await;
        let counter = if outcome == Outcome::Lost { &lost } else { &answered };
        counter.increment(1);
        let (before, after) = live.change(|signals| {
            let before = signals.liveness;
            P::note(signals, outcome);
            (before, signals.liveness)
        });
        log_change(&edge, before, after);
    }
}

fn note(estimator: &mut Estimator, outcome: Outcome) {
    match outcome {
        Outcome::Answered(rtt_ms) => estimator.answered(rtt_ms),
        Outcome::Lost => estimator.lost(),
    }
}

fn log_change(edge: &EdgeId, before: Liveness, after: Liveness) {
    match (before, after) {
        (Liveness::Up { .. }, Liveness::Down { failed, .. }) => {
            tracing::warn!(edge.id = %edge, failed, "an edge is down: probes get no answer");
        }
        (Liveness::Down { .. }, Liveness::Up { .. }) => tracing::info!(edge.id = %edge, "an edge is back"),
        _ => {}
    }
}

/// A limit for a probe: whatever is not over by then is lost.
async fn within<T>(limit: Duration, probe: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(limit, probe).await.ok().flatten()
}
