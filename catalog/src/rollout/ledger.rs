//! The rows of orders: who has which, how it ended, what is left.
//!
//! An order on its way is leased, not locked: its row's `next_at` lies a little after the time the edge
//! may take, so that the row of a catalog that died is due again by itself. `attempts` fences: the
//! outcome of a lease that ended is not written over the next one's.
//! Lock order: the track's row, then its orders'. Claims skip what is locked.

use std::time::Duration;

use service::backoff::Backoff;
use sqlx::{FromRow, PgConnection, PgPool};
use wire::{EdgeId, ObjectKey, TrackId};

use super::Task;
use crate::metrics;
use crate::stored::{id, in_time, int4, int8, unsigned};
use crate::track_store::{lock_life, rolled_out};

/// What a lease has beyond the edge's time for one slice, for PostgreSQL and the way there.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// Overdue versions that one sweep settles; the rest are the next sweep's.
const SWEEP: i64 = 100;

/// One order to one edge, on lease.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) track_id: TrackId,
    pub(super) version: u32,
    pub(super) task: Task,
    pub(super) edge_id: EdgeId,
    pub(super) admin_url: String,
    attempts: u32,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done {
        bytes: u64,
    },
    /// It is tried again after a while, until its deadline.
    Retried(String),
    /// It would fail again.
    Refused(String),
    /// We are stopping; whoever comes next takes it up at once.
    Interrupted,
    /// Its row is no longer ours: expired, or the track has moved on.
    Superseded,
}

impl Outcome {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Retried(_) => "retried",
            Self::Refused(_) => "refused",
            Self::Interrupted => "interrupted",
            Self::Superseded => "superseded",
        }
    }
}

#[derive(FromRow)]
struct Claimed {
    track_id: String,
    version: i32,
    step: String,
    edge_id: String,
    admin_url: String,
    attempts: i32,
}

impl TryFrom<Claimed> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Claimed) -> Result<Self, sqlx::Error> {
        Ok(Self {
            track_id: id(row.track_id)?,
            version: unsigned(row.version)?,
            task: Task::named(&row.step)?,
            edge_id: id(row.edge_id)?,
            admin_url: row.admin_url,
            attempts: unsigned(row.attempts)?,
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pool: PgPool,
    lease: Duration,
}

impl Ledger {
    /// `slice_timeout` is how long an edge may take before the lease is renewed or ends.
    pub(crate) fn new(pool: PgPool, slice_timeout: Duration) -> Self {
        Self { pool, lease: slice_timeout + LEASE_MARGIN }
    }

    /// Leases the order that has been due longest, of an edge that is not busy.
    pub(super) async fn claim(&self, busy: &[&str]) -> Result<Option<Order>, sqlx::Error> {
        let sql = "WITH due AS (
                SELECT r.track_id, r.version, r.step, r.edge_id, e.admin_url
                  FROM rollouts r JOIN tracks t USING (track_id, version) JOIN edges e USING (edge_id)
                 WHERE r.state = 'waiting' AND r.next_at <= now() AND r.deadline_at > now()
                   AND r.edge_id <> ALL($1)
                   AND t.state = CASE r.step WHEN 'warm' THEN 'rolling_out' ELSE 'withdrawn' END
                 ORDER BY r.next_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED)
            UPDATE rollouts r
               SET attempts = r.attempts + 1, next_at = now() + make_interval(secs => $2), changed_at = now()
              FROM due WHERE (r.track_id, r.version, r.step, r.edge_id)
                           = (due.track_id, due.version, due.step, due.edge_id)
            RETURNING r.track_id, r.version, r.step, r.edge_id, due.admin_url, r.attempts";
        let claim = sqlx::query_as(sql).bind(busy).bind(self.lease.as_secs_f64());
        let row: Option<Claimed> = in_time(claim.fetch_optional(&self.pool)).await?;
        row.map(Order::try_from).transpose()
    }

    /// What the order is about.
    pub(super) async fn keys(&self, track: &TrackId) -> Result<Vec<ObjectKey>, sqlx::Error> {
        let sql = "SELECT key FROM objects WHERE track_id = $1 ORDER BY key";
        let keys = sqlx::query_scalar(sql).bind(track.as_str());
        let keys: Vec<String> = in_time(keys.fetch_all(&self.pool)).await?;
        keys.into_iter().map(id).collect()
    }

    /// Holds the order for another slice; false when it is no longer ours.
    pub(super) async fn renew(&self, order: &Order) -> Result<bool, sqlx::Error> {
        let sql = "UPDATE rollouts SET next_at = now() + make_interval(secs => $6) WHERE track_id = $1
                      AND version = $2 AND step = $3 AND edge_id = $4 AND attempts = $5 AND state = 'waiting'";
        let renew = sqlx::query(sql).bind(order.track_id.as_str()).bind(int4(order.version)?);
        let renew = renew.bind(order.task.as_str()).bind(order.edge_id.as_str());
        let renew = renew.bind(int4(order.attempts)?).bind(self.lease.as_secs_f64());
        Ok(in_time(renew.execute(&self.pool)).await?.rows_affected() == 1)
    }

    /// Writes how the order ended and, where it was the version's last, marks the track live.
    pub(super) async fn finish(&self, order: &Order, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let (state, error, bytes, wait) = match outcome {
            Outcome::Superseded => return Ok(()),
            Outcome::Done { bytes } => ("done", None, *bytes, Duration::ZERO),
            Outcome::Retried(error) => ("waiting", Some(error.as_str()), 0, pause(order.attempts)),
            Outcome::Refused(error) => ("failed", Some(error.as_str()), 0, Duration::ZERO),
            Outcome::Interrupted => ("waiting", Some("interrupted by a stop of the catalog"), 0, Duration::ZERO),
        };
        let sql = "UPDATE rollouts SET state = $6, error = $7, bytes = $8, changed_at = now(),
                          next_at = now() + make_interval(secs => $9)
                    WHERE track_id = $1 AND version = $2 AND step = $3 AND edge_id = $4 AND attempts = $5
                      AND state = 'waiting'";
        let update = sqlx::query(sql).bind(order.track_id.as_str()).bind(int4(order.version)?);
        let update = update.bind(order.task.as_str()).bind(order.edge_id.as_str());
        let update = update.bind(int4(order.attempts)?).bind(state).bind(error);
        let update = update.bind(int8(bytes)?).bind(wait.as_secs_f64());
        in_time(async {
            let mut tx = self.pool.begin().await?;
            lock_life(&mut tx, &order.track_id).await?;
            update.execute(&mut *tx).await?;
            settle(&mut tx, &order.track_id, order.version).await?;
            tx.commit().await
        })
        .await
    }

    /// Gives up what is past its deadline.
    pub(super) async fn expire(&self) -> Result<(), sqlx::Error> {
        let sql = "SELECT DISTINCT track_id, version FROM rollouts
                    WHERE state = 'waiting' AND deadline_at <= now() LIMIT $1";
        let overdue = sqlx::query_as(sql).bind(SWEEP);
        let overdue: Vec<(String, i32)> = in_time(overdue.fetch_all(&self.pool)).await?;
        for (track, version) in overdue {
            in_time(self.expire_version(id(track)?, unsigned(version)?)).await?;
        }
        Ok(())
    }

    async fn expire_version(&self, track: TrackId, version: u32) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        lock_life(&mut tx, &track).await?;
        let sql = "UPDATE rollouts SET state = 'failed', changed_at = now(),
                          error = coalesce(error, 'not finished before the deadline')
                    WHERE track_id = $1 AND version = $2 AND state = 'waiting' AND deadline_at <= now()";
        let update = sqlx::query(sql).bind(track.as_str()).bind(int4(version)?);
        let expired = update.execute(&mut *tx).await?.rows_affected();
        settle(&mut tx, &track, version).await?;
        tx.commit().await?;
        metrics::orders_expired(expired);
        tracing::warn!(track.id = %track, version, expired, "edges were not reached before the deadline");
        Ok(())
    }
}

/// Marks the track live once no edge of this version is waited for. The caller holds the track's row,
/// so of two last orders that end at once the later one sees the earlier.
pub(super) async fn settle(tx: &mut PgConnection, track: &TrackId, version: u32) -> Result<(), sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT FROM rollouts WHERE track_id = $1 AND version = $2
                                 AND step = 'warm' AND state = 'waiting')";
    let waiting = sqlx::query_scalar(sql).bind(track.as_str()).bind(int4(version)?);
    if !waiting.fetch_one(&mut *tx).await? && rolled_out(tx, track, version).await? {
        metrics::went_live();
        tracing::info!(track.id = %track, version, "live");
    }
    Ok(())
}

fn pause(attempts: u32) -> Duration {
    let failures_before = attempts.saturating_sub(1);
    Backoff::new(Duration::from_millis(500), Duration::from_secs(15)).after(failures_before).next_delay()
}
