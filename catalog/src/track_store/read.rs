//! What operators look at: one track with its rollout, and pages of tracks.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use wire::TrackId;
use wire::track::TrackStatus;

use super::{StoreError, TrackStore, rows, status};

/// A track and how far its current version is.
#[derive(Debug, Serialize)]
pub(crate) struct TrackDetail {
    #[serde(flatten)]
    pub(crate) status: TrackStatus,
    /// Whether the specification was replaced since the last publication: publish again to warm it.
    pub(crate) revised: bool,
    /// One element an order to an edge, for the current version.
    pub(crate) rollout: Vec<EdgeRollout>,
}

/// One order to one edge.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct EdgeRollout {
    pub(crate) edge_id: String,
    /// `warm` or `purge`.
    pub(crate) step: String,
    /// `waiting`, `done` or `failed`.
    pub(crate) state: String,
    pub(crate) attempts: i32,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
    /// Bytes of the track that the edge said it holds.
    pub(crate) bytes: i64,
    pub(crate) deadline_at: DateTime<Utc>,
    pub(crate) changed_at: DateTime<Utc>,
}

/// A track in a list, without what it is made of.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct TrackSummary {
    pub(crate) track_id: String,
    pub(crate) title: String,
    pub(crate) artist: String,
    pub(crate) duration_ms: i64,
    pub(crate) state: String,
    pub(crate) version: i32,
    pub(crate) changed_at: DateTime<Utc>,
}

/// Tracks in the order of their ids.
#[derive(Debug, Serialize)]
pub(crate) struct TrackPage {
    pub(crate) tracks: Vec<TrackSummary>,
    /// What to give as `after` for the next page; none at the end.
    pub(crate) next: Option<String>,
}

impl TrackStore {
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) async fn get(&self, id: &TrackId) -> Result<TrackDetail, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let row = rows::read(&mut tx, id).await?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
        let spec = rows::spec(&mut tx, id, &row).await?;
        let rollout = rollout(&mut tx, id).await?;
        Ok(TrackDetail { status: status(id, row.life, spec), revised: row.revised, rollout })
    }

    /// At most `limit` tracks whose ids come after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn list(&self, after: Option<&TrackId>, limit: u32) -> Result<TrackPage, StoreError> {
        let sql = "SELECT track_id, title, artist, duration_ms, state, version, changed_at FROM tracks
                    WHERE track_id > $1 ORDER BY track_id LIMIT $2";
        // Ids are not empty, so the empty text stands before all of them. One row more tells of a next page.
        let query = sqlx::query_as(sql).bind(after.map_or("", TrackId::as_str)).bind(i64::from(limit) + 1);
        let mut tracks: Vec<TrackSummary> = query.fetch_all(&self.pool).await?;
        let more = tracks.len() > limit as usize;
        tracks.truncate(limit as usize);
        let next = tracks.last().filter(|_| more).map(|track| track.track_id.clone());
        Ok(TrackPage { tracks, next })
    }
}

async fn rollout(tx: &mut PgConnection, id: &TrackId) -> Result<Vec<EdgeRollout>, sqlx::Error> {
    let sql = "SELECT r.edge_id, r.step, r.state, r.attempts, r.error, r.bytes, r.deadline_at, r.changed_at
                 FROM rollouts r JOIN tracks t USING (track_id, version)
                WHERE r.track_id = $1 ORDER BY r.step DESC, r.edge_id";
    sqlx::query_as(sql).bind(id.as_str()).fetch_all(&mut *tx).await
}
