//! Bringing the snapshot up to date from PostgreSQL.
//!
//! All keys are read at the start and every ten minutes, and in between what has changed since the newest
//! change that was seen, less an overlap: a row is marked when it is written and seen when that is committed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use service::health::Status;
use service::{Health, Shutdown};
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior};
use wire::Timestamp;

use super::KeysConfig;
use super::snapshot::{Entries, Snapshots, changed, whole};
use super::store;
use crate::privacy::{self, Pseudonyms};

const OVERLAP: Duration = Duration::from_secs(10);
/// What the overlap could have missed, and rows that were deleted, are seen by then.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// A server that hangs is as good as away.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A million keys take seconds.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Refresher {
    pool: PgPool,
    snapshots: Arc<Snapshots>,
    health: Health,
    every: Duration,
    max: usize,
    newest: Option<DateTime<Utc>>,
    whole_at: Option<Instant>,
    left_out: bool,
}

impl Refresher {
    pub(super) fn new(pool: PgPool, snapshots: Arc<Snapshots>, health: Health, config: &KeysConfig) -> Self {
        let (every, max) = (config.refresh_interval.0, config.max);
        Self { pool, snapshots, health, every, max, newest: None, whole_at: None, left_out: false }
    }

    /// Refreshes until `shutdown`.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = self.refresh() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Reads what is new and puts it in place; a failure is told to health and leaves what was.
    pub(super) async fn refresh(&mut self) {
        let due = self.whole_at.is_none_or(|at| at.elapsed() >= WHOLE_EVERY);
        let pseudonyms = self.pseudonyms().await;
        let read = match (pseudonyms, self.newest) {
            (Ok(pseudonyms), Some(newest)) if !due => self.changes(newest).await.map(|entries| (entries, pseudonyms)),
            (Ok(pseudonyms), _) => self.whole().await.map(|entries| (entries, pseudonyms)),
            (Err(reason), _) => Err(reason),
        };
        match read {
            Ok((entries, pseudonyms)) => self.put(entries, pseudonyms),
            Err(reason) => self.health.set("keys", self.away(&reason)),
        }
    }

    /// The same as they were where nothing has changed.
    async fn pseudonyms(&self) -> Result<Arc<Pseudonyms>, String> {
        let keys = in_time(TIMEOUT, privacy::read_keys(&self.pool)).await?;
        let known = self.snapshots.current().pseudonyms.clone();
        if let Some(known) = known.filter(|known| known.keys() == keys) {
            return Ok(known);
        }
        Pseudonyms::new(keys).map(Arc::new).ok_or_else(|| "there is no privacy key to hash users with".into())
    }

    async fn whole(&mut self) -> Result<Option<Entries>, String> {
        let (keys, newest, left_out) = in_time(WHOLE_TIMEOUT, store::whole(&self.pool, self.max)).await?;
        (self.newest, self.whole_at, self.left_out) = (newest, Some(Instant::now()), left_out);
        Ok(Some(whole(keys, &self.snapshots.current().entries)))
    }

    async fn changes(&mut self, newest: DateTime<Utc>) -> Result<Option<Entries>, String> {
        let Some((changes, seen)) = in_time(TIMEOUT, store::since(&self.pool, newest - OVERLAP)).await? else {
            return self.whole().await;
        };
        self.newest = seen.max(Some(newest));
        Ok(changed(changes, &self.snapshots.current().entries, self.max))
    }

    fn put(&self, entries: Option<Entries>, pseudonyms: Arc<Pseudonyms>) {
        let mut next = super::Snapshot::clone(&self.snapshots.current());
        (next.confirmed_at, next.pseudonyms) = (Some(Timestamp::now()), Some(pseudonyms));
        if let Some(entries) = entries {
            next.entries = Arc::new(entries);
        }
        self.snapshots.put(next);
        let full =
            || Status::Degraded(format!("{} keys are held, the most there may be; others open nothing", self.max));
        self.health.set("keys", if self.left_out { full() } else { Status::Ok });
    }

    fn away(&self, reason: &str) -> Status {
        match self.snapshots.current().confirmed_at {
            Some(at) => Status::Degraded(format!("checking against the keys of {at}: {reason}")),
            None => Status::Down(format!("no keys have been read yet: {reason}")),
        }
    }
}

/// The reason of a failure in words that stay the same while it lasts, so that health logs it once.
async fn in_time<T>(limit: Duration, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(limit, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sqlx::Error::PoolTimedOut | sqlx::Error::Io(_))) | Err(_) => Err("PostgreSQL does not answer".into()),
        Ok(Err(e)) => Err(format!("PostgreSQL refused the query: {e}")),
    }
}
