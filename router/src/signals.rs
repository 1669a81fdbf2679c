//! What is known of one edge at this moment: its newest load report, and what probes say.
//!
//! The prober and the report handler write, decisions read; a lock of its own per edge, held for the
//! time of a copy, keeps a fleet of any size from sharing one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wire::Timestamp;
use wire::fleet::EdgeState;
use wire::load::LoadReport;

use crate::policy::Unfit;
use crate::probe::{Estimator, Liveness};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signals {
    pub(crate) report: Option<Reported>,
    pub(crate) http: Estimator,
    pub(crate) liveness: Liveness,
    pub(crate) icmp: Estimator,
}

/// What a decision needs of a load report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    started_at: Timestamp,
    seq: u64,
    received: Instant,
    pub(crate) load: f64,
    pub(crate) network_load: f64,
    pub(crate) hit_ratio: Option<f64>,
    draining: bool,
}

impl Reported {
    fn new(report: &LoadReport, received: Instant) -> Self {
        Self {
            started_at: report.started_at,
            seq: report.seq,
            received,
            load: report.load(),
            network_load: report.network_load(),
            hit_ratio: report.hit_ratio,
            draining: report.draining,
        }
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }
}

impl Signals {
    /// Takes a report unless a newer one is known; says whether it did.
    ///
    /// A known report that is older than `max_age` gives way to any: an edge that came back with its
    /// clock set back must not stay out until the clock has caught up.
    pub(crate) fn accept(&mut self, report: &LoadReport, now: Instant, max_age: Duration) -> bool {
        let order = (report.started_at, report.seq);
        let newer = self.report.is_none_or(|known| order > (known.started_at, known.seq) || known.age(now) > max_age);
        if newer {
            self.report = Some(Reported::new(report, now));
        }
        newer
    }

    /// Whether the edge may get listeners.
    pub(crate) fn fit(&self, state: EdgeState, now: Instant, max_age: Duration) -> Result<(), Unfit> {
        match state {
            EdgeState::Active => {}
            EdgeState::Drain => return Err(Unfit::Drain),
            EdgeState::Maintenance => return Err(Unfit::Maintenance),
        }
        if let Liveness::Down { failed, .. } = self.liveness {
            return Err(Unfit::Down { failed });
        }
        match self.report {
            None => Err(Unfit::NeverReported),
            Some(report) if report.age(now) > max_age => Err(Unfit::Silent { seconds: report.age(now).as_secs() }),
            Some(report) if report.draining => Err(Unfit::Drain),
            Some(_) => Ok(()),
        }
    }

    /// The path to the edge. HTTP counts the edge's own time in, routers answer ICMP late: the shorter
    /// round trip is nearer to the network's. Loss shows in ICMP alone, for TCP repairs it.
    pub(crate) fn path(&self) -> Path {
        let http = Path { rtt_ms: self.http.rtt_ms(), jitter_ms: self.http.jitter_ms(), loss: self.http.loss() };
        // Where nothing comes back, ICMP is blocked: that says nothing of the path.
        let Some(icmp) = self.icmp.rtt_ms().filter(|_| self.icmp.loss() < 1.0) else { return http };
        match http.rtt_ms {
            Some(rtt) if rtt < icmp => Path { loss: self.icmp.loss().max(http.loss), ..http },
            _ => Path { rtt_ms: Some(icmp), jitter_ms: self.icmp.jitter_ms(), loss: self.icmp.loss() },
        }
    }
}

/// Round trip and jitter in milliseconds, loss from 0 to 1, from this router to an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Path {
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) jitter_ms: f64,
    pub(crate) loss: f64,
}

/// The signals of one edge, shared by those who write and those who read.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<Signals>);

impl Live {
    pub(crate) fn read(&self) -> Signals {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Signals) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(5);

    fn report(started_at: i64, seq: u64) -> LoadReport {
        serde_json::from_value(serde_json::json!({
            "edge_id": "fra-1", "pop": "fra", "started_at": started_at, "seq": seq, "sent_at": started_at,
            "cpu": 0.1, "memory": 0.2, "disk_io_bytes_s": 0, "disk_capacity_bytes_s": 0, "connections": 1,
            "connections_max": 100, "network_out_bps": 400, "network_capacity_bps": 1000,
        }))
        .unwrap()
    }

    #[test]
    fn late_and_repeated_reports_are_ignored() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        let mut accept = |started_at, seq| signals.accept(&report(started_at, seq), now, MAX_AGE);
        assert!(accept(1000, 5));
        assert!(!accept(1000, 5) && !accept(1000, 4) && !accept(999, 50));
        assert!(accept(1000, 6));
        assert!(accept(2000, 1), "a restarted edge counts from 1 again");
    }

    #[test]
    fn a_clock_set_back_keeps_an_edge_out_for_the_maximum_age_only() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        assert!(signals.accept(&report(9_000_000, 1), now, MAX_AGE));
        assert!(!signals.accept(&report(1000, 1), now + MAX_AGE, MAX_AGE));
        assert!(signals.accept(&report(1000, 1), now + MAX_AGE + Duration::from_millis(1), MAX_AGE));
    }

    #[test]
    fn every_unfit_edge_has_its_reason() {
        let now = Instant::now();
        let mut signals = Signals::default();
        let fit = |signals: &Signals, state, later| signals.fit(state, now + Duration::from_secs(later), MAX_AGE);
        assert_eq!(fit(&signals, EdgeState::Active, 0), Err(Unfit::NeverReported));
        signals.accept(&report(1, 1), now, MAX_AGE);
        assert_eq!(fit(&signals, EdgeState::Active, 5), Ok(()));
        assert_eq!(fit(&signals, EdgeState::Active, 6), Err(Unfit::Silent { seconds: 6 }));
        assert_eq!(fit(&signals, EdgeState::Drain, 0), Err(Unfit::Drain));
        assert_eq!(fit(&signals, EdgeState::Maintenance, 0), Err(Unfit::Maintenance));
        signals.accept(&LoadReport { draining: true, ..report(1, 2) }, now, MAX_AGE);
        assert_eq!(fit(&signals, EdgeState::Active, 0), Err(Unfit::Drain));
        signals.liveness = Liveness::Down { failed: 3, answered: 0 };
        assert_eq!(fit(&signals, EdgeState::Active, 0), Err(Unfit::Down { failed: 3 }));
    }

    #[test]
    fn icmp_counts_only_where_it_comes_back() {
        let mut signals = Signals::default();
        signals.http.answered(Some(12.0));
        signals.icmp.lost();
        assert_eq!(signals.path(), Path { rtt_ms: Some(12.0), jitter_ms: 0.0, loss: 0.0 });
        signals.icmp.answered(Some(10.0));
        assert_eq!(signals.path(), Path { rtt_ms: Some(10.0), jitter_ms: 0.0, loss: 0.5 });
    }
}
