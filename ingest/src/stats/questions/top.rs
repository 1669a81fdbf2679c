//! The tracks with the most streams of the last hour, day or week, everywhere or in one country.
//!
//! ClickHouse computes the rankings every few minutes; asking only reads them.

use std::str::FromStr;

use bytes::Bytes;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use super::{json, timestamp};
use crate::stats::store::{Param, Store, Trouble};

const EVERYWHERE: &str = "
SELECT rank, track_id, plays, streams, listeners, heard_s, toInt64(toUnixTimestamp(refreshed_at)) * 1000 AS computed
FROM top_tracks
WHERE period = {period:String} AND rank <= {limit:Int64}
ORDER BY rank";

const IN_A_COUNTRY: &str = "
SELECT rank, track_id, plays, streams, listeners, heard_s, toInt64(toUnixTimestamp(refreshed_at)) * 1000 AS computed
FROM top_tracks_by_country
WHERE country = {country:String} AND period = {period:String} AND rank <= {limit:Int64}
ORDER BY rank";

/// `GET /v1/stats/top`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::stats) struct Top {
    pub(in crate::stats) window: Window,
    pub(in crate::stats) country: Option<Country>,
    pub(in crate::stats) limit: u32,
}

/// The time that a ranking is about, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::stats) enum Window {
    Hour,
    Day,
    Week,
}

impl Window {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Hour, Self::Day, Self::Week].into_iter().find(|window| window.as_str() == text);
        known.ok_or("must be hour, day or week")
    }
}

/// ISO 3166-1 alpha-2, in capitals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(in crate::stats) struct Country(String);

impl FromStr for Country {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        legal.then(|| Self(text.to_ascii_uppercase())).ok_or("must be two letters, as ISO 3166-1 has them")
    }
}

#[derive(Debug, Row, Deserialize)]
struct Place {
    rank: u32,
    track_id: String,
    plays: u64,
    streams: u64,
    listeners: u64,
    heard_s: f64,
    computed: i64,
}

#[derive(Serialize)]
struct Answer<'a> {
    window: Window,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a Country>,
    /// Absent where nothing was played.
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_at: Option<Timestamp>,
    tracks: Vec<Ranked>,
}

#[derive(Serialize)]
struct Ranked {
    rank: u32,
    track_id: String,
    plays: u64,
    streams: u64,
    listeners: u64,
    heard_s: f64,
}

impl Top {
    pub(super) async fn ask(&self, store: &Store) -> Result<Bytes, Trouble> {
        let (period, limit) =
            (("period", Param::Text(self.window.as_str())), ("limit", Param::Number(self.limit.into())));
        let rows: Vec<Place> = match &self.country {
            None => store.rows("top", EVERYWHERE, &[period, limit]).await?,
            Some(Country(country)) => {
                store.rows("top", IN_A_COUNTRY, &[period, limit, ("country", Param::Text(country))]).await?
            }
        };
        let computed_at = rows.first().map(|place| timestamp(place.computed));
        let tracks = rows.into_iter().map(Ranked::from).collect();
        Ok(json(&Answer { window: self.window, country: self.country.as_ref(), computed_at, tracks }))
    }
}

impl From<Place> for Ranked {
    fn from(place: Place) -> Self {
        let Place { rank, track_id, plays, streams, listeners, heard_s, .. } = place;
        Self { rank, track_id, plays, streams, listeners, heard_s }
    }
}
