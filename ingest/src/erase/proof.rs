//! What was erased, as it is printed and stored.

use std::fmt;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::Timestamp;

use super::remains::Remains;
use super::store::Store;

#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    pub erasure_id: Uuid,
    pub erased_at: Timestamp,
    /// The listener, as every version of the key writes the name.
    pub user_hashes: Vec<String>,
    pub counts: Vec<Count>,
    /// The last look found nothing, nothing waits for the sink, and the sink has stored what Kafka had.
    pub complete: bool,
    pub remains: Vec<Remains>,
    /// When the listener was erased the last time before.
    pub earlier: Option<Timestamp>,
}

/// Rows of a table that were erased, or a column of a table that was blanked in so many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub table: String,
    pub rows: u64,
    /// Written down and not erased yet: the listener's next proof counts them in.
    pub left: u64,
}

impl Proof {
    pub(super) fn new(erasure_id: Uuid, erased_at: Timestamp, user_hashes: Vec<String>) -> Self {
        let (counts, remains) = (Vec::new(), Vec::new());
        Self { erasure_id, erased_at, user_hashes, counts, complete: false, remains, earlier: None }
    }

    pub(super) fn add(&mut self, table: &str, rows: u64, left: u64) {
        match self.counts.iter_mut().find(|count| count.table == table) {
            Some(count) => {
                count.rows += rows;
                count.left = left;
            }
            None => self.counts.push(Count { table: table.to_owned(), rows, left }),
        }
    }

    /// Of a table, or of a blanked column.
    #[must_use]
    pub fn rows(&self, table: &str) -> u64 {
        self.counts.iter().find(|count| count.table == table).map_or(0, |count| count.rows)
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.rows).sum()
    }
}

/// How often this listener was erased before, when last, and what was left then.
#[derive(Debug, Row, Deserialize)]
pub(super) struct Earlier {
    pub(super) times: u64,
    last: i64,
    left: Vec<(String, u64)>,
}

impl Earlier {
    pub(super) fn last(&self) -> Option<Timestamp> {
        Timestamp::from_millis(self.last).filter(|_| self.times > 0)
    }

    pub(super) fn left(&self, table: &str) -> u64 {
        self.left.iter().find(|(name, _)| name == table).map_or(0, |(_, left)| *left)
    }
}

pub(super) async fn earlier(store: &Store, hashes: &str) -> anyhow::Result<Earlier> {
    let sql = format!(
        "SELECT count() AS times, toUnixTimestamp64Milli(max(erased_at)) AS last, \
         argMax(arrayZip(arrayMap(name -> toString(name), `counts.table`), \
         arrayResize(`counts.left`, length(`counts.table`))), erased_at) AS left FROM erasures \
         WHERE hasAny(user_hashes, [{hashes}])"
    );
    Ok(store.client().query(&sql).fetch_one().await?)
}

pub(super) async fn keep(store: &Store, proof: &Proof) -> anyhow::Result<()> {
    let quoted = |texts: Vec<&str>| texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ");
    let hashes = quoted(proof.user_hashes.iter().map(String::as_str).collect());
    let tables = quoted(proof.counts.iter().map(|count| count.table.as_str()).collect());
    let numbers = |of: fn(&Count) -> u64| {
        proof.counts.iter().map(|count| format!("toUInt64({})", of(count))).collect::<Vec<_>>().join(", ")
    };
    let (rows, left) = (numbers(|count| count.rows), numbers(|count| count.left));
    // Ours to the last letter, but for names of topics.
    let remains = serde_json::to_string(&proof.remains)?.replace('\\', "\\\\").replace('\'', "\\'");
    let sql = format!(
        "INSERT INTO erasures (erasure_id, erased_at, user_hashes, `counts.table`, `counts.rows`, `counts.left`, remains) \
         SELECT '{}', fromUnixTimestamp64Milli({}, 'UTC'), [{hashes}], [{tables}], [{rows}], [{left}], '{remains}'",
        proof.erasure_id,
        proof.erased_at.as_millis()
    );
    store.run("store the proof", &sql).await
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Erasure {} of {}", self.erasure_id, self.erased_at)?;
        if let Some(earlier) = self.earlier {
            writeln!(f, "The listener was erased before, on {earlier}.")?;
        }
        for count in self.counts.iter().filter(|count| count.rows > 0) {
            writeln!(f, "{:>12}  {}", count.rows, count.table)?;
        }
        if self.total() == 0 && self.complete {
            writeln!(f, "Nothing was found.")?;
        }
        if !self.complete {
            writeln!(f, "Not all is gone yet, or the listener goes on listening: run it again.")?;
        }
        writeln!(f, "What remains:")?;
        for remains in &self.remains {
            writeln!(f, "- {remains}")?;
        }
        Ok(())
    }
}
