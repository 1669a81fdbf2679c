//! The outbox stays small and is measured.

use std::time::Duration;

use service::Shutdown;
use sqlx::PgPool;

use crate::metrics;
use crate::stored::in_time;

const EVERY: Duration = Duration::from_secs(5);
/// Rows that one transaction deletes, so that it is short.
const SLICE: i64 = 5_000;
/// The count of waiting events stops here: a gauge is not worth a scan of millions every five seconds.
const COUNTED: i64 = 100_000;

/// Deletes what was sent long ago and tells how much waits.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) pool: PgPool,
    pub(crate) keep: Duration,
}

impl Upkeep {
    pub(crate) async fn run(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.round(&shutdown).await {
                tracing::debug!(%error, "the outbox could not be trimmed; it is tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn round(&self, shutdown: &Shutdown) -> Result<(), sqlx::Error> {
        in_time(self.measure()).await?;
        while !shutdown.is_cancelled() && in_time(self.trim()).await? == SLICE as u64 {}
        Ok(())
    }

    async fn trim(&self) -> Result<u64, sqlx::Error> {
        let sql = "DELETE FROM outbox WHERE id IN (
                       SELECT id FROM outbox WHERE sent_at < now() - make_interval(secs => $1)
                        ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let delete = sqlx::query(sql).bind(self.keep.as_secs_f64()).bind(SLICE);
        Ok(delete.execute(&self.pool).await?.rows_affected())
    }

    async fn measure(&self) -> Result<(), sqlx::Error> {
        let sql = "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
                     FROM (SELECT created_at FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1) waiting";
        let (waiting, oldest_s): (i64, f64) = sqlx::query_as(sql).bind(COUNTED).fetch_one(&self.pool).await?;
        metrics::outbox_waiting(waiting, oldest_s);
        Ok(())
    }
}
