//! The ingest role's metrics.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, Histogram};
use service::metrics::Metric;

const ACCEPTED: Metric = Metric::new(
    "tonearm_ingest_accepted_total",
    "elements that Kafka has acknowledged or the spool has synced, by kind",
);
const REFUSED: Metric =
    Metric::new("tonearm_ingest_refused_total", "elements that were refused, by kind and problem type");
const BYTES: Metric = Metric::new("tonearm_ingest_body_bytes_total", "body bytes received, by kind");
const ACK: Metric = Metric::new(
    "tonearm_ingest_ack_seconds",
    "from handing over a request's elements to the last acknowledgement or sync, by kind",
);

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

/// What the spool counts.
pub(crate) static SPOOLED: LazyLock<Counter> =
    LazyLock::new(|| Metric::new("tonearm_ingest_spooled_total", "records synced to the spool").counter(&[]));
pub(crate) static RESCUED: LazyLock<Counter> = LazyLock::new(|| {
    Metric::new("tonearm_ingest_rescued_total", "records given to the spool because Kafka did not take them")
        .counter(&[])
});
pub(crate) static REPLAYED: LazyLock<Counter> = LazyLock::new(|| {
    Metric::new("tonearm_ingest_replayed_total", "records of the spool that Kafka has acknowledged").counter(&[])
});
pub(crate) static DAMAGED: LazyLock<Counter> = LazyLock::new(|| {
    Metric::new("tonearm_ingest_spool_damaged_total", "stretches of the spool that were no record and were set aside")
        .counter(&[])
});
pub(crate) static SPOOL_BYTES: LazyLock<Gauge> =
    LazyLock::new(|| Metric::new("tonearm_ingest_spool_bytes", "bytes of the spool's segments").gauge(&[]));
pub(crate) static SPOOL_RECORDS: LazyLock<Gauge> = LazyLock::new(|| {
    Metric::new("tonearm_ingest_spool_records", "records in the spool that Kafka has not acknowledged").gauge(&[])
});
pub(crate) static SPOOL_SYNC: LazyLock<Histogram> = LazyLock::new(|| {
    Metric::new("tonearm_ingest_spool_sync_seconds", "writing and syncing one group of records").histogram(&[])
});
