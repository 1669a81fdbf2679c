//! Every metric of the catalog, declared once.

use service::metrics::Metric;

const OUTBOX_SENT: Metric = Metric::new("tonearm_catalog_outbox_sent_total", "Content events that Kafka acknowledged");
const OUTBOX_FAILED: Metric =
    Metric::new("tonearm_catalog_outbox_failures_total", "Relay rounds that left events behind; they are taken again");
const OUTBOX_DELAY: Metric =
    Metric::new("tonearm_catalog_outbox_delay_seconds", "From a change's transaction to Kafka's acknowledgement");
const OUTBOX_WAITING: Metric =
    Metric::new("tonearm_catalog_outbox_waiting", "Content events not yet in Kafka; counted up to 100000");
const OUTBOX_OLDEST: Metric =
    Metric::new("tonearm_catalog_outbox_oldest_seconds", "Age of the oldest content event not yet in Kafka");
const CONTENT_EVENTS: Metric = Metric::new(
    "tonearm_catalog_content_events_total",
    "Content events read for rollouts, by outcome: planned, superseded, dead_lettered",
);
const ORDERS: Metric = Metric::new(
    "tonearm_catalog_edge_orders_total",
    "Orders given to edges, by step (warm, purge) and outcome (done, retried, refused, interrupted, superseded)",
);
const ORDER_TIME: Metric =
    Metric::new("tonearm_catalog_edge_order_seconds", "How long an order to an edge took, by step");
const EXPIRED: Metric = Metric::new("tonearm_catalog_edge_orders_expired_total", "Orders given up at their deadline");
const LIVE: Metric = Metric::new("tonearm_catalog_tracks_live_total", "Versions that went live");

pub(crate) fn outbox_sent(events: usize) {
    OUTBOX_SENT.counter(&[]).increment(events as u64);
}

pub(crate) fn outbox_failed() {
    OUTBOX_FAILED.counter(&[]).increment(1);
}

pub(crate) fn outbox_waited(seconds: f64) {
    OUTBOX_DELAY.histogram(&[]).record(seconds);
}

#[allow(clippy::cast_precision_loss, reason = "counted up to 100000")]
pub(crate) fn outbox_waiting(events: i64, oldest_s: f64) {
    OUTBOX_WAITING.gauge(&[]).set(events as f64);
    OUTBOX_OLDEST.gauge(&[]).set(oldest_s);
}

pub(crate) fn content_event(outcome: &'static str) {
    CONTENT_EVENTS.counter(&[("outcome", outcome.into())]).increment(1);
}

pub(crate) fn order(step: &'static str, outcome: &'static str, seconds: f64) {
    ORDERS.counter(&[("step", step.into()), ("outcome", outcome.into())]).increment(1);
    ORDER_TIME.histogram(&[("step", step.into())]).record(seconds);
}

pub(crate) fn orders_expired(orders: u64) {
    EXPIRED.counter(&[]).increment(orders);
}

pub(crate) fn went_live() {
    LIVE.counter(&[]).increment(1);
}
