//! Tracks in PostgreSQL, as the view `routable_tracks` tells them to routers.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{FromRow, PgPool};
use wire::{FieldError, ObjectKey, TrackId};

use super::{Change, Track};

const WHOLE: &str =
    "SELECT track_id, version, live, changed_at, hls_key, progressive_key FROM routable_tracks WHERE live LIMIT $1";
const SINCE: &str =
    "SELECT track_id, version, live, changed_at, hls_key, progressive_key FROM routable_tracks WHERE changed_at >= $1";
const ONE: &str =
    "SELECT track_id, version, live, changed_at, hls_key, progressive_key FROM routable_tracks WHERE track_id = $1";
const NEWEST: &str = "SELECT max(changed_at) FROM tracks";

#[derive(Debug, FromRow)]
struct Row {
    track_id: String,
    version: i32,
    live: bool,
    changed_at: DateTime<Utc>,
    hls_key: Option<String>,
    progressive_key: Option<String>,
}

/// All live tracks, `max` and one more at most, and how far changes have been seen with them.
///
/// # Errors
/// When PostgreSQL is away or has no such view.
pub(crate) async fn whole(
    pool: &PgPool,
    max: usize,
) -> sqlx::Result<(HashMap<TrackId, Arc<Track>>, Option<DateTime<Utc>>)> {
    // Asked for first: what changes while the tracks are read is then read again.
    let newest: Option<DateTime<Utc>> = sqlx::query_scalar(NEWEST).fetch_one(pool).await?;
    let limit = i64::try_from(max.saturating_add(1)).unwrap_or(i64::MAX);
    let mut tracks = HashMap::new();
    let mut rows = sqlx::query_as::<_, Row>(WHOLE).bind(limit).fetch(pool);
    while let Some(row) = rows.try_next().await? {
        if let Some((id, Some(track))) = row.change() {
            tracks.insert(id, track);
        }
    }
    Ok((tracks, newest))
}

/// What has changed at or after a moment, and when the newest of it did.
///
/// # Errors
/// As [`whole`].
pub(crate) async fn since(pool: &PgPool, moment: DateTime<Utc>) -> sqlx::Result<(Vec<Change>, Option<DateTime<Utc>>)> {
    let rows: Vec<Row> = sqlx::query_as(SINCE).bind(moment).fetch_all(pool).await?;
    let newest = rows.iter().map(|row| row.changed_at).max();
    Ok((rows.into_iter().filter_map(Row::change).collect(), newest))
}

/// One track, if it is live.
///
/// # Errors
/// As [`whole`].
pub(crate) async fn one(pool: &PgPool, id: &TrackId) -> sqlx::Result<Option<Arc<Track>>> {
    let row: Option<Row> = sqlx::query_as(ONE).bind(id.as_str()).fetch_optional(pool).await?;
    Ok(row.and_then(Row::change).and_then(|(_, track)| track))
}

impl Row {
    /// None for a row that no router can use: it is refused alone, the others stand.
    fn change(self) -> Option<Change> {
        let id = self.track_id.clone();
        match self.parse() {
            Ok(change) => Some(change),
            Err(reason) => {
                tracing::warn!(track.id = id, %reason, "a track is refused, the others stand");
                None
            }
        }
    }

    fn parse(self) -> Result<Change, FieldError> {
        let id = TrackId::new(self.track_id).map_err(|e| FieldError::new("track_id", e.to_string()))?;
        if !self.live {
            return Ok((id, None));
        }
        let track = Track {
            version: u32::try_from(self.version).map_err(|_| FieldError::new("version", "must not be negative"))?,
            hls_key: parse_key("hls_key", self.hls_key)?,
            progressive_key: parse_key("progressive_key", self.progressive_key)?,
        };
        if track.hls_key.is_none() && track.progressive_key.is_none() {
            return Err(FieldError::new("hls_key", "neither this nor progressive_key is given"));
        }
        Ok((id, Some(Arc::new(track))))
    }
}

fn parse_key(field: &str, key: Option<String>) -> Result<Option<ObjectKey>, FieldError> {
    key.map(ObjectKey::new).transpose().map_err(|e| FieldError::new(field, e.to_string()))
}
