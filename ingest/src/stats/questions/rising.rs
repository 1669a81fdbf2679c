//! The tracks that are played more than their past would say.
//!
//! ClickHouse computes them every minute; asking only reads them.

use bytes::Bytes;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use super::{json, timestamp};
use crate::stats::store::{Param, Store, Trouble};

const SQL: &str = "
SELECT rank, track_id, starts, listeners, expected, growth, score, toInt64(toUnixTimestamp(refreshed_at)) * 1000 AS computed
FROM rising_tracks
WHERE rank <= {limit:Int64}
ORDER BY rank";

/// `GET /v1/stats/rising`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::stats) struct Rising {
    pub(in crate::stats) limit: u32,
}

#[derive(Debug, Row, Deserialize)]
struct Place {
    rank: u32,
    track_id: String,
    starts: u64,
    listeners: u64,
    expected: f64,
    growth: Option<f64>,
    score: f64,
    computed: i64,
}

#[derive(Serialize)]
struct Answer {
    /// Absent where nothing rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_at: Option<Timestamp>,
    tracks: Vec<Ranked>,
}

#[derive(Serialize)]
struct Ranked {
    rank: u32,
    track_id: String,
    plays: u64,
    listeners: u64,
    expected_plays: f64,
    /// Absent for a track that was never played before.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<f64>,
    score: f64,
}

impl Rising {
    pub(super) async fn ask(&self, store: &Store) -> Result<Bytes, Trouble> {
        let rows: Vec<Place> = store.rows("rising", SQL, &[("limit", Param::Number(self.limit.into()))]).await?;
        let computed_at = rows.first().map(|place| timestamp(place.computed));
        Ok(json(&Answer { computed_at, tracks: rows.into_iter().map(Ranked::from).collect() }))
    }
}

impl From<Place> for Ranked {
    fn from(place: Place) -> Self {
        let Place { rank, track_id, starts, listeners, expected, growth, score, .. } = place;
        Self {
            rank,
            track_id,
            plays: starts,
            listeners,
            expected_plays: rounded(expected),
            growth: growth.map(rounded),
            score: rounded(score),
        }
    }
}

/// More digits than three would be noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
