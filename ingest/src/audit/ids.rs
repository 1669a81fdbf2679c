//! Ids that a raw table holds more than once: sent again later than the sink's window reaches back. No
//! offset is lost or doubled by them, and views that count by id are right; so they are named, not blamed.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Grade};
use super::hours::Hours;
use super::offsets::brief;
use super::store::Store;
use super::topics::Stream;

#[derive(Debug, Clone, Default, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct IdsAudit {
    /// Rows of the range.
    pub rows: u64,
    /// Ids that stand in more than one row.
    pub more_than_once: u64,
    /// Rows more than ids: `count() - uniqExact(id)`.
    pub rows_too_many: u64,
    pub examples: Vec<String>,
}

/// Grouped on ClickHouse's disk where there are many; `uniqExact` would hold them all in memory.
pub(super) async fn audit(store: &Store, stream: &Stream, hours: Hours) -> anyhow::Result<IdsAudit> {
    let Stream { table, id, .. } = stream;
    let sql = format!(
        "SELECT sum(n) AS rows, countIf(n > 1) AS more_than_once, sum(toUInt64(n - 1)) AS rows_too_many, \
         groupArrayIf(20)(toString(id), n > 1) AS examples \
         FROM (SELECT {id} AS id, count() AS n FROM {table} WHERE {range} GROUP BY id)",
        range = hours.sql("received_at"),
    );
    store.one("ids that are stored more than once", &sql).await
}

impl IdsAudit {
    pub(super) fn judge(&self, table: &str, findings: &mut Vec<Finding>) {
        if self.more_than_once > 0 {
            let what = format!(
                "{} ids are stored more than once, {} rows too many: sent again beyond the sink's window: {}",
                self.more_than_once,
                self.rows_too_many,
                brief(&self.examples)
            );
            findings.push(Finding::new(Grade::Holds, table, what));
        }
    }
}
