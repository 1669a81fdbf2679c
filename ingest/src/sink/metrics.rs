//! The sink's metrics.

use service::metrics::Metric;

pub(super) const ROWS: Metric = Metric::new("tonearm_sink_rows_total", "rows that ClickHouse acknowledged, by table");
pub(super) const BATCHES: Metric = Metric::new("tonearm_sink_batches_total", "inserts acknowledged, by table");
pub(super) const DEAD: Metric = Metric::new("tonearm_sink_dead_letters_total", "messages set aside, by table");
pub(super) const REPEATS: Metric = Metric::new(
    "tonearm_sink_repeats_total",
    "messages whose id their partition had brought before, told and not stored again, by table",
);
pub(super) const FAILURES: Metric = Metric::new(
    "tonearm_sink_insert_failures_total",
    "attempts of an insert that failed and were made again, by table",
);
pub(super) const COMPLETED: Metric = Metric::new(
    "tonearm_sink_completed_inserts_total",
    "parts of inserts that were missing after an attempt had failed, as when ClickHouse is killed, and that were put there, by table",
);
pub(super) const INSERT: Metric = Metric::new(
    "tonearm_sink_insert_seconds",
    "from a batch's first attempt to ClickHouse's acknowledgement, by table",
);
pub(super) const LAG: Metric =
    Metric::new("tonearm_sink_lag_messages", "messages in this sink's partitions that are not committed yet, by topic");
pub(super) const OLDEST: Metric = Metric::new(
    "tonearm_sink_oldest_waiting_seconds",
    "age of the oldest message that waits for ClickHouse in this sink's partitions, by topic; of one whose last ids are not known yet, since it was assigned",
);
pub(super) const MISSING: Metric = Metric::new(
    "tonearm_sink_missing_offsets_total",
    "offsets that Kafka no longer had when they should have come, by topic",
);
pub(super) const BUFFERED: Metric = Metric::new("tonearm_sink_buffered_bytes", "memory of all batches");
pub(super) const PARTITIONS: Metric = Metric::new("tonearm_sink_partitions", "partitions that this sink has");
