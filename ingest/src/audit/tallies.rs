//! What each ingest process last said of its own count. What that proves: [`wire::tally`].

use std::collections::HashMap;

use clickhouse::Row;
use serde::Deserialize;

use super::hours::Hours;
use super::store::Store;

/// The latest tally of a process in the range.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Latest {
    pub(super) ingest_id: String,
    spool_id: String,
    pub(super) given: u64,
    pub(super) settled: u64,
    pub(super) ended: bool,
    /// It counted before the range began, so its first numbers may lie before the range.
    pub(super) earlier: bool,
}

#[derive(Debug, Row, Deserialize)]
struct Waiting {
    spool_id: String,
    waiting: u64,
}

pub(super) struct Tallies {
    pub(super) latest: Vec<Latest>,
    /// Records in each spool, as of whichever process spoke last for it.
    waiting: HashMap<String, u64>,
}

impl Tallies {
    pub(super) fn waiting(&self, of: &Latest) -> u64 {
        self.waiting.get(&of.spool_id).copied().unwrap_or(0)
    }
}

/// Processes that said anything in the range; those that never started within 13 months have expired.
pub(super) async fn latest(store: &Store, hours: Hours) -> anyhow::Result<Tallies> {
    let spoken = hours.sql("at");
    let (before, open) = (hours.to.map_or_else(|| "1".into(), |_| Hours { from: None, ..hours }.sql("at")), hours.from);
    let began =
        open.map_or_else(|| "0".into(), |from| format!("min(toUnixTimestamp64Milli(at)) < {}", from.as_millis()));
    let sql = format!(
        "SELECT ingest_id, toString(argMax(spool_id, at)) AS spool_id, argMax(given, at) AS given, \
         argMax(settled, at) AS settled, max(ended) AS ended, {began} AS earlier \
         FROM tallies WHERE {before} GROUP BY ingest_id HAVING countIf({spoken}) > 0 ORDER BY min(at), ingest_id"
    );
    let latest = store.all("what ingest processes counted", &sql).await?;
    let waiting =
        "SELECT toString(spool_id) AS spool_id, argMax(waiting, at) AS waiting FROM tallies GROUP BY spool_id";
    let waiting: Vec<Waiting> = store.all("what waits in spools", waiting).await?;
    Ok(Tallies { latest, waiting: waiting.into_iter().map(|spool| (spool.spool_id, spool.waiting)).collect() })
}
