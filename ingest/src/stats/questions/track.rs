//! How a track did over a range of time: totals, and hour by hour or day by day.

use std::collections::HashMap;

use bytes::Bytes;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use wire::{Timestamp, TrackId};

use super::{Figures, Sums, json};
use crate::stats::range::Range;
use crate::stats::store::{Param, Store, Trouble};

/// A row for each step with plays, and one for all of them: listeners do not add up.
const SQL: &str = "
SELECT
    toUInt8(grouping(step)) AS in_all,
    toInt64(toUnixTimestamp(step)) * 1000 AS at,
    count() AS plays,
    toUInt64(sum(is_stream)) AS streams,
    uniqExact(listener) AS listeners,
    toUInt64(sum(heard_ms)) AS heard_ms,
    toUInt64(sum(skipped)) AS skips,
    toUInt64(sum(done)) AS completed
FROM (
    SELECT
        if({by:String} = 'hour', toStartOfHour(started_at), toStartOfDay(started_at)) AS step,
        is_stream, heard_ms, skipped, completed AS done, listener
    FROM plays_of(first_day = {first_day:Date}, last_day = {last_day:Date})
    WHERE track_id = {track:String}
      AND started_at >= fromUnixTimestamp64Milli({from:Int64}) AND started_at < fromUnixTimestamp64Milli({to:Int64})
)
GROUP BY GROUPING SETS ((step), ())";

/// `GET /v1/stats/tracks/{id}`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::stats) struct Track {
    pub(in crate::stats) track: TrackId,
    pub(in crate::stats) range: Range,
}

#[derive(Debug, Row, Deserialize)]
struct Step {
    in_all: u8,
    at: i64,
    plays: u64,
    streams: u64,
    listeners: u64,
    heard_ms: u64,
    skips: u64,
    completed: u64,
}

impl Step {
    fn figures(&self) -> Figures {
        let Self { plays, streams, listeners, heard_ms, skips, completed, .. } = *self;
        Sums { plays, streams, listeners, heard_ms, skips, completed }.into()
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    track_id: &'a TrackId,
    from: Timestamp,
    to: Timestamp,
    by: &'static str,
    totals: Figures,
    series: Vec<At>,
}

#[derive(Serialize)]
struct At {
    at: Timestamp,
    #[serde(flatten)]
    figures: Figures,
}

impl Track {
    /// An unknown track is one that nobody played: the catalog is asked for what exists, not this.
    pub(super) async fn ask(&self, store: &Store) -> Result<Bytes, Trouble> {
        let Range { from, to, step } = self.range;
        let (first_day, last_day) = self.range.days();
        let params = [
            ("track", Param::Text(self.track.as_str())),
            ("by", Param::Text(step.as_str())),
            ("first_day", Param::Text(&first_day)),
            ("last_day", Param::Text(&last_day)),
            ("from", Param::Number(from.as_millis())),
            ("to", Param::Number(to.as_millis())),
        ];
        let rows: Vec<Step> = store.rows("track", SQL, &params).await?;
        let figures = |row: Option<&Step>| row.map_or_else(|| Sums::default().into(), Step::figures);
        let by_time: HashMap<i64, &Step> = rows.iter().filter(|row| row.in_all == 0).map(|row| (row.at, row)).collect();
        let series = self.range.steps().map(|at| At { at, figures: figures(by_time.get(&at.as_millis()).copied()) });
        Ok(json(&Answer {
            track_id: &self.track,
            from,
            to,
            by: step.as_str(),
            totals: figures(rows.iter().find(|row| row.in_all == 1)),
            series: series.collect(),
        }))
    }
}
