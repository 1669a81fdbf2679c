//! Listeners who were forgotten stay forgotten: what was received before an erasure and stored after it is
//! named until the erasure is run again.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade};
use super::hours::Hours;
use super::store::Store;
use crate::erase::{PLAY, SESSION};

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

/// Of a play that names a forgotten listener, what was received before they were, and the same of a play that names
/// nobody in a session of theirs.
pub(super) async fn audit(store: &Store, listens: &str) -> anyhow::Result<Forgotten> {
    let named = "SELECT arrayJoin(user_hashes) AS hash, max(erased_at) AS erased_at, any(user_hashes[1]) AS who \
                 FROM erasures GROUP BY hash";
    let sessions = format!(
        "SELECT session, max(p.erased_at) AS erased_at, any(p.user_hashes[1]) AS who \
         FROM erased AS e INNER JOIN erasures AS p ON e.erasure_id = p.erasure_id \
         WHERE e.topic = '{listens}' AND e.session != 0 GROUP BY session"
    );
    let events = format!(
        "SELECT {PLAY}, user_id, received_at, {SESSION} AS session FROM events \
         WHERE user_id IN (SELECT arrayJoin(user_hashes) FROM erasures) OR session IN (SELECT session FROM ({sessions}))"
    );
    let plays = format!(
        "SELECT max(e.user_id) = '' AS is_nameless, if(is_nameless, max(s.erased_at), max(n.erased_at)) AS until, \
         arrayCount(at -> at < until, groupArray(e.received_at)) AS back, if(is_nameless, max(s.who), max(n.who)) AS who \
         FROM ({events}) AS e LEFT JOIN ({named}) AS n ON e.user_id = n.hash \
         LEFT JOIN ({sessions}) AS s ON e.session = s.session GROUP BY {PLAY}"
    );
    let sql = format!(
        "SELECT assumeNotNull((SELECT uniqExact(user_hashes) FROM erasures)) AS erasures, \
         sum(back)::UInt64 AS events, uniqExactIf(who, back > 0) AS listeners FROM ({plays})"
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
