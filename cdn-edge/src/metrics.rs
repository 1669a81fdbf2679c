//! The edge's metrics, each declared once. The label `edge` tells several in one process apart.

use metrics::{Counter, Gauge, Histogram};
use service::metrics::Metric;
use wire::EdgeId;

const REQUESTS: Metric = Metric::new("edge_requests_total", "answers on the public listener");
const HITS: Metric = Metric::new("edge_hits_total", "answers that needed no fill");
const MISSES: Metric = Metric::new("edge_misses_total", "answers that came from the origin");
const BODY_BYTES: Metric = Metric::new("edge_body_bytes_total", "body bytes handed to sockets");
const CONNECTIONS: Metric = Metric::new("edge_connections", "open connections on the public listener");
const ORIGIN_REQUESTS: Metric =
    Metric::new("edge_origin_requests_total", "requests to the origin, by outcome: found, unchanged, missing, failed");
const REFUSED: Metric = Metric::new(
    "edge_refused_total",
    "requests and connections that were refused: overload, and the client's own limits of requests and connections",
);
const SHIELD: Metric = Metric::new(
    "edge_shield_requests_total",
    "requests to other edges before the origin, by outcome: answered, failed",
);
const ORIGIN_BYTES: Metric =
    Metric::new("edge_origin_bytes_total", "body bytes that came from the origin or from another edge");
const ORIGIN_SECONDS: Metric = Metric::new("edge_origin_first_byte_seconds", "from a request to the origin's head");
const FILLS: Metric = Metric::new("edge_fills", "fills that are running");
const FILLS_FAILED: Metric = Metric::new("edge_fills_failed_total", "fills that broke off: their readers got an error");
const MEMORY: Metric = Metric::new("edge_memory_bytes", "chunks in memory");
const DISK: Metric = Metric::new("edge_disk_bytes", "chunks on disk, in whole pages");
const DISK_ENDED: Metric = Metric::new(
    "edge_disk_ended_bytes",
    "chunks on disk beside these: of evicted and replaced versions that are still being read",
);
const OBJECTS: Metric = Metric::new("edge_objects", "objects that are known");
const DISK_READS: Metric = Metric::new("edge_disk_reads_total", "chunks read from disk");
const DISK_CORRUPT: Metric = Metric::new("edge_disk_corrupt_total", "chunks on disk that failed their checksum");
const NOT_STORED: Metric =
    Metric::new("edge_not_stored_total", "chunks that were not stored on disk, by reason: queue_full, error, ended");
const DELIVERIES: Metric = Metric::new(
    "edge_deliveries_total",
    "delivery records, by outcome: sent, refused by ingest, lost to a full spool or queue, unnamed: of no object's key",
);
const SPOOLED: Metric = Metric::new("edge_spool_records", "delivery records on disk that ingest does not have yet");
const REPORTS: Metric = Metric::new("edge_reports_total", "load reports, by outcome: sent, failed");

const URLS_REFUSED: Metric = Metric::new("edge_urls_refused_total", "requests without a good token, by reason");

/// Handles, looked up once.
#[derive(Debug)]
pub struct Metrics {
    pub requests: Counter,
    pub hits: Counter,
    pub misses: Counter,
    pub body_bytes: Counter,
    pub connections: Gauge,
    pub origin_found: Counter,
    pub origin_unchanged: Counter,
    pub origin_missing: Counter,
    pub origin_failed: Counter,
    pub refused_overload: Counter,
    pub refused_requests: Counter,
    pub refused_connections: Counter,
    pub shield_answered: Counter,
    pub shield_failed: Counter,
    pub origin_bytes: Counter,
    pub origin_first_byte: Histogram,
    pub fills: Gauge,
    pub fills_failed: Counter,
    pub memory: Gauge,
    pub disk: Gauge,
    pub disk_ended: Gauge,
    pub objects: Gauge,
    pub disk_reads: Counter,
    pub disk_corrupt: Counter,
    pub not_stored_queue_full: Counter,
    pub not_stored_error: Counter,
    pub not_stored_ended: Counter,
    pub deliveries_sent: Counter,
    pub deliveries_refused: Counter,
    pub deliveries_lost: Counter,
    pub deliveries_unnamed: Counter,
    pub spooled: Gauge,
    pub reports_sent: Counter,
    pub reports_failed: Counter,
}

impl Metrics {
    /// Seldom enough to be looked up each time.
    pub fn refused_url(&self, edge: &EdgeId, reason: &str) {
        URLS_REFUSED.counter(&[("edge", edge.to_string()), ("reason", reason.to_owned())]).increment(1);
    }

    #[must_use]
    pub fn new(edge: &EdgeId) -> Self {
        let own = || ("edge", edge.to_string());
        let plain = |metric: Metric| metric.counter(&[own()]);
        let by = |metric: Metric, label, value: &str| metric.counter(&[own(), (label, value.to_owned())]);
        Self {
            requests: plain(REQUESTS),
            hits: plain(HITS),
            misses: plain(MISSES),
            body_bytes: plain(BODY_BYTES),
            connections: CONNECTIONS.gauge(&[own()]),
            origin_found: by(ORIGIN_REQUESTS, "outcome", "found"),
            origin_unchanged: by(ORIGIN_REQUESTS, "outcome", "unchanged"),
            origin_missing: by(ORIGIN_REQUESTS, "outcome", "missing"),
            origin_failed: by(ORIGIN_REQUESTS, "outcome", "failed"),
            refused_overload: by(REFUSED, "reason", "overload"),
            refused_requests: by(REFUSED, "reason", "client_requests"),
            refused_connections: by(REFUSED, "reason", "client_connections"),
            shield_answered: by(SHIELD, "outcome", "answered"),
            shield_failed: by(SHIELD, "outcome", "failed"),
            origin_bytes: plain(ORIGIN_BYTES),
            origin_first_byte: ORIGIN_SECONDS.histogram(&[own()]),
            fills: FILLS.gauge(&[own()]),
            fills_failed: plain(FILLS_FAILED),
            memory: MEMORY.gauge(&[own()]),
            disk: DISK.gauge(&[own()]),
            disk_ended: DISK_ENDED.gauge(&[own()]),
            objects: OBJECTS.gauge(&[own()]),
            disk_reads: plain(DISK_READS),
            disk_corrupt: plain(DISK_CORRUPT),
            not_stored_queue_full: by(NOT_STORED, "reason", "queue_full"),
            not_stored_error: by(NOT_STORED, "reason", "error"),
            not_stored_ended: by(NOT_STORED, "reason", "ended"),
            deliveries_sent: by(DELIVERIES, "outcome", "sent"),
            deliveries_refused: by(DELIVERIES, "outcome", "refused"),
            deliveries_lost: by(DELIVERIES, "outcome", "lost"),
            deliveries_unnamed: by(DELIVERIES, "outcome", "unnamed"),
            spooled: SPOOLED.gauge(&[own()]),
            reports_sent: by(REPORTS, "outcome", "sent"),
            reports_failed: by(REPORTS, "outcome", "failed"),
        }
    }
}
