//! Bringing the snapshot up to date from PostgreSQL.
//!
//! The fleet is small and read whole each time. Tracks are read whole at the start and every ten
//! minutes, and in between by what has changed since the newest change that was seen, less an overlap:
//! `changed_at` is when a transaction began, and one that began before may commit after.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use service::health::Status;
use service::{Health, Shutdown};
use sqlx::PgPool;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use wire::Timestamp;

use super::Snapshots;
use crate::fleet::{self, Fleet};
use crate::tracks::store;

const OVERLAP: Duration = Duration::from_secs(10);
/// What the overlap could have missed, and rows that were deleted, are seen by then.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// For small reads: a server that hangs is as good as away.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A million tracks take seconds.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Refresher {
    pool: PgPool,
    snapshots: Arc<Snapshots>,
    health: Health,
    tracks_max: usize,
    /// Held from reading the fleet to putting it in place: a read that began before an operator's
    /// change must not overwrite the one that followed it.
    fleet_turn: Mutex<()>,
}

/// How far the tracks have been read.
#[derive(Debug, Default)]
struct Progress {
    newest: Option<DateTime<Utc>>,
    whole_at: Option<Instant>,
}

impl Refresher {
    pub(crate) fn new(pool: PgPool, snapshots: Arc<Snapshots>, health: Health, tracks_max: usize) -> Self {
        Self { pool, snapshots, health, tracks_max, fleet_turn: Mutex::new(()) }
    }

    /// Refreshes until `shutdown`.
    pub(crate) async fn fleet_loop(self: Arc<Self>, every: Duration, shutdown: Shutdown) {
        let mut ticks = ticks(every);
        while next(&mut ticks, &shutdown).await {
            self.fleet().await;
        }
    }

    /// As [`Refresher::fleet_loop`], for tracks, which may take longer; `tried` is told of the first round.
    pub(crate) async fn tracks_loop(self: Arc<Self>, every: Duration, tried: oneshot::Sender<()>, shutdown: Shutdown) {
        let (mut ticks, mut progress, mut tried) = (ticks(every), Progress::default(), Some(tried));
        while next(&mut ticks, &shutdown).await {
            self.tracks(&mut progress).await;
            // Nobody waits any more where the start did not want to wait so long.
            tried.take().map(|tried| tried.send(()));
        }
    }

    /// Reads the fleet and puts it in place; a failure is told to health and leaves what was.
    pub(crate) async fn fleet(&self) {
        let _turn = self.fleet_turn.lock().await;
        match in_time(TIMEOUT, fleet::store::read(&self.pool)).await {
            Ok(read) => {
                self.put_fleet(read);
                self.health.set("postgres", Status::Ok);
            }
            Err(reason) => self.health.set("postgres", self.away(&reason)),
        }
    }

    fn put_fleet(&self, read: Vec<fleet::store::Entry>) {
        self.snapshots.update(|snapshot| {
            let fleet = Fleet::build(read, &snapshot.fleet);
            snapshot.confirmed_at = Timestamp::now();
            if snapshot.version > 0 && fleet.same_as(&snapshot.fleet) {
                return false;
            }
            fleet.log_refusals(&snapshot.fleet);
            snapshot.fleet = Arc::new(fleet);
            true
        });
    }

    fn away(&self, reason: &str) -> Status {
        let snapshot = self.snapshots.current();
        if snapshot.version == 0 {
            return Status::Down(format!("no fleet and no tracks have been read yet: {reason}"));
        }
        Status::Degraded(format!("serving from the snapshot of {}: {reason}", snapshot.confirmed_at))
    }

    async fn tracks(&self, progress: &mut Progress) {
        let whole = progress.whole_at.is_none_or(|at| at.elapsed() >= WHOLE_EVERY);
        let read = match progress.newest {
            Some(newest) if !whole => self.changed_tracks(newest, progress).await,
            _ => self.whole_tracks(progress).await,
        };
        match read {
            Ok(()) if self.snapshots.current().tracks.left_out() => {
                let reason =
                    format!("{} tracks are held, the most there may be; others are looked up", self.tracks_max);
                self.health.set("tracks", Status::Degraded(reason));
            }
            Ok(()) => self.health.set("tracks", Status::Ok),
            Err(reason) => self.health.set("tracks", Status::Degraded(format!("cannot be refreshed: {reason}"))),
        }
    }

    async fn whole_tracks(&self, progress: &mut Progress) -> Result<(), String> {
        let (tracks, newest) = in_time(WHOLE_TIMEOUT, store::whole(&self.pool, self.tracks_max)).await?;
        self.snapshots.update(|snapshot| snapshot.tracks.replace(tracks));
        *progress = Progress { newest, whole_at: Some(Instant::now()) };
        Ok(())
    }

    async fn changed_tracks(&self, newest: DateTime<Utc>, progress: &mut Progress) -> Result<(), String> {
        let (changes, seen) = in_time(TIMEOUT, store::since(&self.pool, newest - OVERLAP)).await?;
        // Mostly the overlap's, known already: without a look first each would copy the table's spine.
        let current = self.snapshots.current();
        let new: Vec<_> = changes.into_iter().filter(|(id, track)| current.tracks.get(id) != track.as_ref()).collect();
        drop(current);
        if !new.is_empty() {
            self.snapshots
                .update(|snapshot| new.into_iter().fold(false, |any, change| snapshot.tracks.apply(change) | any));
        }
        progress.newest = seen.max(Some(newest));
        Ok(())
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn next(ticks: &mut tokio::time::Interval, shutdown: &Shutdown) -> bool {
    tokio::select! {
        _ = ticks.tick() => true,
        () = shutdown.cancelled() => false,
    }
}

/// The reason of a failure in words that stay the same while it lasts, so that health logs it once.
async fn in_time<T>(limit: Duration, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(limit, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sqlx::Error::PoolTimedOut | sqlx::Error::Io(_))) => Err("PostgreSQL does not answer".into()),
        Ok(Err(e)) => Err(format!("PostgreSQL refused the query: {e}")),
        Err(_) => Err("PostgreSQL does not answer in time".into()),
    }
}
