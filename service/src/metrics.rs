//! Metrics, in Prometheus' text format at `GET /metrics`.
//!
//! A role declares each of its metrics once, in a file of its own, by [`Metric::counter`] and its
//! siblings; the name, unit and meaning stand there. Labels have few values.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// What histograms were told is a list until it is summed up, also where nobody asks for it.
const SUM_UP_EVERY: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Seconds: from a cached answer on loopback to a slow origin.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Installs the recorder for the process. Later calls change nothing.
pub fn start() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS).expect("the list of buckets is not empty");
        let recorder = builder.install_recorder().expect("no other recorder is installed in this program");
        let summed_up = recorder.clone();
        let thread = std::thread::Builder::new().name("metrics".into());
        // Without the thread the sums wait for whoever asks for them.
        let _ = thread.spawn(move || {
            loop {
                std::thread::sleep(SUM_UP_EVERY);
                summed_up.run_upkeep();
            }
        });
        recorder
    });
}

/// The current values, or nothing before [`start`].
#[must_use]
pub fn render() -> String {
    let Some(recorder) = RECORDER.get() else { return String::new() };
    recorder.run_upkeep();
    recorder.render()
}

/// A metric's one declaration: its name with the unit as suffix, and what it tells.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
}

impl Metric {
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// A counter with these labels; keep the handle where a path is hot.
    pub fn counter(&self, labels: &[(&'static str, String)]) -> Counter {
        metrics::describe_counter!(self.name, self.help);
        metrics::counter!(self.name, labels)
    }

    pub fn gauge(&self, labels: &[(&'static str, String)]) -> Gauge {
        metrics::describe_gauge!(self.name, self.help);
        metrics::gauge!(self.name, labels)
    }

    pub fn histogram(&self, labels: &[(&'static str, String)]) -> Histogram {
        metrics::describe_histogram!(self.name, self.help);
        metrics::histogram!(self.name, labels)
    }
}
