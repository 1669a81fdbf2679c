//! What the account may do, apart from how a server is told.

use crate::config::AnalystConfig;

/// What a question may hold on disk, in multiples of what it may hold in memory.
const DISK_FACTOR: u64 = 10;
/// Threads of one question; questions at the same time.
const THREADS: u64 = 4;
const AT_ONCE: u64 = 8;

/// What analysts have no business with, as a grant names it: payloads that nobody could read, so that nobody knows
/// whom they name; who asked to be forgotten; and the view that logs in to PostgreSQL.
const KEPT_BACK: [(&str, &str); 4] = [
    ("SELECT(key, payload)", "dead_letter"),
    ("SELECT", "erasures"),
    ("SELECT", "erased"),
    ("SELECT", "tracks_refresh"),
];

/// A setting of the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A question may ask for less, down to 1; never for 0, which means as much as there is.
    AtMost(u64),
    /// No question may change it.
    Fixed(&'static str),
}

/// `readonly` 2 lets a question set what it needs, such as a format's settings; these it may not leave.
pub(super) fn limits(analyst: &AnalystConfig) -> Vec<Limit> {
    use Value::{AtMost, Fixed};
    let memory = analyst.max_memory.as_u64();
    [
        ("readonly", Fixed("2")),
        ("max_execution_time", AtMost(seconds(analyst.max_execution_time.0))),
        ("timeout_overflow_mode", Fixed("throw")),
        ("max_memory_usage", AtMost(memory)),
        ("max_bytes_before_external_group_by", AtMost(memory / 2)),
        ("max_bytes_before_external_sort", AtMost(memory / 2)),
        ("max_temporary_data_on_disk_size_for_query", AtMost(memory.saturating_mul(DISK_FACTOR))),
        ("max_result_rows", AtMost(analyst.max_result_rows)),
        ("result_overflow_mode", Fixed("throw")),
        ("max_threads", AtMost(THREADS)),
        ("max_concurrent_queries_for_user", AtMost(AT_ONCE)),
    ]
    .map(|(name, value)| Limit { name, value })
    .into()
}

/// What an hour may cost: by name of the quota's resource.
pub(super) fn quota(analyst: &AnalystConfig) -> [(&'static str, u64); 2] {
    [("queries", analyst.max_queries_per_hour), ("execution_time", seconds(analyst.max_time_per_hour.0))]
}

/// What is granted and then taken back, in this order; `to` and `from` end each, as in `" TO analyst"`.
pub(super) fn grants(database: &str, to: &str, from: &str) -> Vec<String> {
    let kept_back = KEPT_BACK.iter().map(|(what, table)| format!("REVOKE {what} ON {database}.{table}{from}"));
    std::iter::once(format!("GRANT SELECT ON {database}.*{to}")).chain(kept_back).collect()
}

fn seconds(span: std::time::Duration) -> u64 {
    span.as_secs().max(1)
}
