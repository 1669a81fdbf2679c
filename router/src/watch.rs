//! Once a second: what health and metrics say of edges and snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::health::Status;
use service::{Health, Shutdown};
use tokio::time::MissedTickBehavior;
use wire::Timestamp;

use crate::http::App;
use crate::meters::{EDGES, SNAPSHOT_AGE, TRACKS};

/// Edges named in health; the rest is counted.
const NAMED: usize = 5;

pub(crate) async fn run(app: Arc<App>, health: Health, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => look(&app, &health),
            () = shutdown.cancelled() => return,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of edges and ages stay far below 2^52")]
fn look(app: &App, health: &Health) {
    let (snapshot, now) = (app.snapshots.current(), Instant::now());
    let sites = snapshot.fleet.edges();
    let out: Vec<&str> = sites
        .iter()
        .filter(|site| app.decider.view(site, None, now).fit.is_err())
        .map(|site| site.edge.edge_id.as_str())
        .collect();
    EDGES.gauge(&[("fit", "yes".into())]).set((sites.len() - out.len()) as f64);
    EDGES.gauge(&[("fit", "no".into())]).set(out.len() as f64);
    TRACKS.gauge(&[]).set(snapshot.tracks.len() as f64);
    SNAPSHOT_AGE.gauge(&[]).set(Timestamp::now().millis_since(snapshot.confirmed_at) as f64 / 1000.0);
    health.set("edges", edges_status(sites.len(), &out, snapshot.fleet.refused().len()));
}

/// Never down: a router without edges still takes the reports that will give it some.
fn edges_status(all: usize, out: &[&str], refused: usize) -> Status {
    if out.len() == all {
        return Status::Degraded("no edge may get listeners".into());
    }
    let mut parts = Vec::new();
    if !out.is_empty() {
        let more = if out.len() > NAMED { ", …" } else { "" };
        let named = out[..out.len().min(NAMED)].join(", ");
        parts.push(format!("{} of {all} edges get no listeners: {named}{more}", out.len()));
    }
    if refused > 0 {
        parts.push(format!("{refused} of the fleet's entries refused"));
    }
    if parts.is_empty() { Status::Ok } else { Status::Degraded(parts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_out() {
        assert_eq!(edges_status(3, &[], 0), Status::Ok);
        assert_eq!(edges_status(0, &[], 0), Status::Degraded("no edge may get listeners".into()));
        let expected = "1 of 3 edges get no listeners: a; 2 of the fleet's entries refused";
        assert_eq!(edges_status(3, &["a"], 2), Status::Degraded(expected.into()));
    }
}
