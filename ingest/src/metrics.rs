//! The ingest role's metrics.

use std::sync::LazyLock;

use metrics::{Counter, Histogram};
use service::metrics::Metric;

const ACCEPTED: Metric = Metric::new("tonearm_ingest_accepted_total", "elements that Kafka has acknowledged, by kind");
const REFUSED: Metric =
    Metric::new("tonearm_ingest_refused_total", "elements that were refused, by kind and problem type");
const BYTES: Metric = Metric::new("tonearm_ingest_body_bytes_total", "body bytes received, by kind");
const ACK: Metric =
    Metric::new("tonearm_ingest_ack_seconds", "from a request's first message to its last acknowledgement, by kind");

/// What one kind of request counts; the handles are made once, for the path is hot.
pub(crate) struct Counters {
    kind: &'static str,
    pub(crate) accepted: Counter,
    pub(crate) bytes: Counter,
    pub(crate) ack: Histogram,
}

pub(crate) static EVENTS: LazyLock<Counters> = LazyLock::new(|| Counters::of("event"));
pub(crate) static DELIVERIES: LazyLock<Counters> = LazyLock::new(|| Counters::of("delivery"));

impl Counters {
    fn of(kind: &'static str) -> Self {
        let label = [("kind", kind.to_owned())];
        Self { kind, accepted: ACCEPTED.counter(&label), bytes: BYTES.counter(&label), ack: ACK.histogram(&label) }
    }

    pub(crate) fn refused(&self, problem: &'static str) {
        REFUSED.counter(&[("kind", self.kind.to_owned()), ("problem", problem.to_owned())]).increment(1);
    }
}
