//! A track that the snapshot does not hold: published this second, or no track at all.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use wire::TrackId;

use super::{Track, store};

/// Ten thousand answers, "no such track" among them, each for 2 s: a player that asks again and again
/// costs one query in that time, and a publication is seen by the next refresh anyway.
const ANSWERS: u64 = 10_000;
const KEPT: Duration = Duration::from_secs(2);
/// A look-up that takes longer, waiting for its turn included, is given up.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Queries at a time, so that a flood of made-up tracks leaves connections for the refresh.
const AT_ONCE: usize = 4;

#[derive(Debug)]
pub(crate) struct Missing {
    pool: PgPool,
    answers: Cache<TrackId, Option<Arc<Track>>>,
    turns: Semaphore,
}

impl Missing {
    pub(crate) fn new(pool: PgPool) -> Self {
        let answers = Cache::builder().max_capacity(ANSWERS).time_to_live(KEPT).build();
        Self { pool, answers, turns: Semaphore::new(AT_ONCE) }
    }

    /// The track, if PostgreSQL says in time that it is live. Callers that ask for the same one wait
    /// for one query.
    pub(crate) async fn find(&self, id: &TrackId) -> Option<Arc<Track>> {
        self.answers.get_with_by_ref(id, self.ask(id)).await
    }

    async fn ask(&self, id: &TrackId) -> Option<Arc<Track>> {
        let query = async {
            let _turn = self.turns.acquire().await.ok()?;
            store::one(&self.pool, id)
                .await
                .inspect_err(|error| tracing::debug!(%error, "cannot look up a track"))
                .ok()?
        };
        tokio::time::timeout(TIMEOUT, query).await.ok().flatten()
    }
}
