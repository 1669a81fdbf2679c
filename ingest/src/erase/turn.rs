//! One erasure at a time: two would each write down, and count, what the other takes.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

/// Names the lock in PostgreSQL.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('tonearm erase', 0))";

/// An erasure that others wait for takes seconds.
const TRIES: u32 = 1200;
const BETWEEN: Duration = Duration::from_millis(500);

/// The turn lasts as long as the connection: a kill ends it too.
pub(super) async fn take(pool: &PgPool) -> anyhow::Result<PoolConnection<Postgres>> {
    let mut connection = pool.acquire().await.context("cannot reach PostgreSQL")?;
    connection.close_on_drop();
    for tried in 0..TRIES {
        let taken = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await;
        if taken.context("cannot tell whether others erase")? {
            return Ok(connection);
        }
        if tried == 0 {
            tracing::info!("another erasure is under way, and is waited for");
        }
        tokio::time::sleep(BETWEEN).await;
    }
    bail!("other erasures are under way: try it again later");
}
