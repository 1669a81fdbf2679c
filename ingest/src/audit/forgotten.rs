//! Listeners who were forgotten stay forgotten: what was received before an erasure and stored after it is
//! named until the erasure is run again.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade};
use super::hours::Hours;
use super::store::Store;

/// Why what an erasure has taken from one table and not yet from another is not judged.
pub(super) const UNFINISHED: &str = "an erasure is under way, or was cut off: run it again";

#[derive(Debug, Clone, Default, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Forgotten {
    /// Listeners with a proof of erasure.
    pub erasures: u64,
    /// Events of theirs that came back.
    pub events: u64,
    pub listeners: u64,
}

pub(super) async fn audit(store: &Store) -> anyhow::Result<Forgotten> {
    let erased = "SELECT arrayJoin(user_hashes) AS hash, max(erased_at) AS erased_at FROM erasures GROUP BY hash";
    let sql = format!(
        "SELECT assumeNotNull((SELECT uniqExact(user_hashes) FROM erasures)) AS erasures, count() AS events, \
         uniqExact(user_id) AS listeners \
         FROM events AS e INNER JOIN ({erased}) AS f ON e.user_id = f.hash \
         WHERE e.user_id IN (SELECT arrayJoin(user_hashes) FROM erasures) AND e.received_at < f.erased_at"
    );
    store.one("events of forgotten listeners", &sql).await
}

/// How far erasures are: what they have written down, and whether some of it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Erasing {
    written: u64,
    left: u64,
}

impl Erasing {
    pub(super) async fn now(store: &Store, listens: &str, hours: Hours) -> anyhow::Result<Self> {
        let range = hours.sql("received_at");
        let left = |table: &str, topic: &str| {
            format!(
                "(SELECT count() FROM {table} WHERE {range} AND {topic} (_partition, _offset, received_at) IN \
                 (SELECT _partition, _offset, received_at FROM erased \
                  WHERE topic = '{listens}' AND from_table = '{table}' AND {range}))"
            )
        };
        let topic = format!("topic = '{listens}' AND");
        let (events, repeats, letters) = (left("events", ""), left("repeats", &topic), left("dead_letter", &topic));
        let sql = format!(
            "SELECT assumeNotNull((SELECT count() FROM erased)) AS written, \
             assumeNotNull({events}) + assumeNotNull({repeats}) + assumeNotNull({letters}) AS left"
        );
        store.one("how far erasures are", &sql).await
    }

    pub(super) fn is_under_way(self) -> bool {
        self.left > 0
    }

    /// Whether none did anything between the two.
    pub(super) fn is_none_since(self, before: Self) -> bool {
        self == before && !self.is_under_way()
    }

    pub(super) fn has_written_since(self, before: Self) -> bool {
        self.written != before.written
    }
}

impl Forgotten {
    pub(super) fn judge(&self, findings: &mut Vec<Finding>) {
        if self.events > 0 {
            let Self { events, listeners, .. } = self;
            let what = format!(
                "{events} events of {listeners} listeners came back after their erasure, from a spool or a replay, \
                 or waited for the sink: run `tonearm erase` for them again"
            );
            findings.push(Finding::new(Grade::Off, "events", what));
        }
    }
}
