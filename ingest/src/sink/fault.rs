//! Whether a row that ClickHouse refuses alone is at fault itself, or the table it goes into.
//!
//! A constraint that an operator wrote wrongly, or a column of another type, refuses every row with the same
//! words as a bad row gets. To set all of them aside would empty the table's stream into the dead letters. So a
//! row is set aside only where the table is known to take others: another row was taken since this one was first
//! tried, or since the table was last altered, as long as not many are set aside in succession, or one of those around
//! it would be taken now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clickhouse::Client;

use super::insert::Job;
use super::neighbours;
use super::rows::Table;
use super::store::Store;

/// Set aside one after another, with no row taken between them: then the table is the more likely to be at fault.
const IN_SUCCESSION: u64 = 16;

const WITHIN: Duration = Duration::from_secs(60);

/// What the tables have taken from this sink.
#[derive(Debug, Default)]
pub(super) struct Faults {
    tables: [Taken; Table::ALL.len()],
}

#[derive(Debug, Default)]
struct Taken {
    batches: AtomicU64,
    aside_since: AtomicU64,
}

/// How far a table was when a batch was tried for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Faults {
    fn of(&self, table: Table) -> &Taken {
        &self.tables[table as usize]
    }

    pub(super) fn mark(&self, table: Table) -> Mark {
        Mark(self.of(table).batches.load(Ordering::Relaxed))
    }

    /// The table took rows, or would have.
    pub(super) fn taken(&self, table: Table) {
        self.of(table).batches.fetch_add(1, Ordering::Relaxed);
        self.of(table).aside_since.store(0, Ordering::Relaxed);
    }

    /// A row was set aside.
    pub(super) fn aside(&self, table: Table) {
        self.of(table).aside_since.fetch_add(1, Ordering::Relaxed);
    }

    /// Of the only row of a batch that the table refused.
    ///
    /// # Errors
    /// When ClickHouse or Kafka does not tell.
    pub(super) async fn is_the_rows(&self, job: &Job, tried: Mark, store: &Store) -> anyhow::Result<bool> {
        let table = job.table;
        let few = self.of(table).aside_since.load(Ordering::Relaxed) < IN_SUCCESSION;
        if few && (self.mark(table).0 > tried.0 || took_rows_as_it_is(table, &store.asking).await?) {
            return Ok(true);
        }
        let takes_others = neighbours::are_taken(store, job).await?;
        if takes_others {
            self.taken(table);
        }
        Ok(takes_others)
    }
}

/// Rows that were received some seconds after the last change of the table; clocks may differ by less.
async fn took_rows_as_it_is(table: Table, client: &Client) -> anyhow::Result<bool> {
    let name = table.name();
    let sql = format!(
        "WITH (SELECT metadata_modification_time FROM system.tables \
         WHERE database = currentDatabase() AND name = '{name}') AS altered \
         SELECT 1::UInt8 FROM {name} WHERE received_at > altered + 5 LIMIT 1"
    );
    let took =
        tokio::time::timeout(WITHIN, client.query(&sql).fetch_optional::<u8>()).await.context("no answer in time")?;
    Ok(took.context("cannot see whether the table took rows since it was altered")?.is_some())
}
