//! What one listener heard: totals, and the plays one by one, the newest first.

use std::str::FromStr;

use bytes::Bytes;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

use super::{json, seconds, timestamp};
use crate::stats::range::Range;
use crate::stats::store::{Param, Store, Trouble};

/// The sessions come first: the raw table has an index of users and keeps each session's rows together. Then
/// only what was played in them is put together.
const TOTALS: &str = "
SELECT
    count() AS plays,
    toUInt64(sum(is_stream)) AS streams,
    uniqExact(track_id) AS tracks,
    toUInt64(sum(heard_ms)) AS heard_ms,
    toUInt64(sum(skipped)) AS skips,
    toUInt64(sum(completed)) AS completed
FROM plays_of(first_day = {first_day:Date}, last_day = {last_day:Date})
WHERE (track_id, session_id) IN (
        SELECT track_id, session_id FROM events
        WHERE user_id IN {users:Array(String)}
          AND event_ts >= toDateTime({first_day:Date} - 7) AND event_ts < toDateTime({last_day:Date} + 8)
    )
  AND user_id IN {users:Array(String)}
  AND started_at >= fromUnixTimestamp64Milli({from:Int64}) AND started_at < fromUnixTimestamp64Milli({to:Int64})";

/// In an order that nothing new changes: a page begins after the last play of the page before it.
const HISTORY: &str = "
SELECT
    toUnixTimestamp64Milli(started_at) AS started,
    cityHash64(app, session_id, track_id, play_id) AS place,
    track_id,
    heard_ms,
    is_stream,
    completed,
    skipped,
    toString(device) AS device
FROM plays_of(first_day = {first_day:Date}, last_day = {last_day:Date})
WHERE (track_id, session_id) IN (
        SELECT track_id, session_id FROM events
        WHERE user_id IN {users:Array(String)}
          AND event_ts >= toDateTime({first_day:Date} - 7) AND event_ts < toDateTime({last_day:Date} + 8)
    )
  AND user_id IN {users:Array(String)}
  AND started_at >= fromUnixTimestamp64Milli({from:Int64}) AND started_at < fromUnixTimestamp64Milli({to:Int64})
  AND (started, place) < ({before:Int64}, toUInt64({place:String}))
ORDER BY started DESC, place DESC
LIMIT {limit:Int64}";

/// `GET /v1/stats/users/{id}`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::stats) struct User {
    /// As the app names the listener.
    pub(in crate::stats) id: String,
    /// As ClickHouse may know the listener: hashed with each key there is.
    pub(in crate::stats) stored: Vec<String>,
    pub(in crate::stats) range: Range,
    pub(in crate::stats) after: Option<Cursor>,
    pub(in crate::stats) limit: u32,
}

/// The last play of a page, where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::stats) struct Cursor {
    started: i64,
    place: u64,
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be the next_cursor of the page before";
        let (started, place) = text.split_once('-').ok_or(wrong)?;
        // The sign that from_str_radix takes is none of ours.
        if !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Err(wrong);
        }
        let started = i64::from_str_radix(started, 16).map_err(|_| wrong)?;
        let place = u64::from_str_radix(place, 16).map_err(|_| wrong)?;
        Ok(Self { started, place })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.started, self.place)
    }
}

#[derive(Debug, Row, Deserialize)]
struct Totals {
    plays: u64,
    streams: u64,
    tracks: u64,
    heard_ms: u64,
    skips: u64,
    completed: u64,
}

#[derive(Debug, Row, Deserialize)]
struct Play {
    started: i64,
    place: u64,
    track_id: String,
    heard_ms: u64,
    is_stream: u8,
    completed: u8,
    skipped: u8,
    device: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    user_id: &'a str,
    from: Timestamp,
    to: Timestamp,
    totals: Sum,
    history: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Sum {
    plays: u64,
    streams: u64,
    tracks: u64,
    heard_s: f64,
    skips: u64,
    completed: u64,
}

#[derive(Serialize)]
struct Entry {
    track_id: String,
    started_at: Timestamp,
    heard_s: f64,
    stream: bool,
    completed: bool,
    skipped: bool,
    device: String,
}

impl User {
    pub(super) fn size(&self) -> usize {
        self.id.len() + self.stored.iter().map(String::len).sum::<usize>() + 64
    }

    pub(super) async fn ask(&self, store: &Store) -> Result<Bytes, Trouble> {
        let Range { from, to, .. } = self.range;
        let (first_day, last_day) = self.range.days();
        let who = [
            ("users", Param::Texts(&self.stored)),
            ("first_day", Param::Text(&first_day)),
            ("last_day", Param::Text(&last_day)),
            ("from", Param::Number(from.as_millis())),
            ("to", Param::Number(to.as_millis())),
        ];
        let totals: Vec<Totals> = store.rows("user-totals", TOTALS, &who).await?;
        let after = self.after.unwrap_or(Cursor { started: i64::MAX, place: 0 });
        let place = after.place.to_string();
        let page = [
            ("before", Param::Number(after.started)),
            ("place", Param::Text(&place)),
            // One more, to know whether there is a next page.
            ("limit", Param::Number(i64::from(self.limit) + 1)),
        ];
        let plays: Vec<Play> = store.rows("user-history", HISTORY, &[&who[..], &page[..]].concat()).await?;
        Ok(json(&self.answer(totals.first(), plays)))
    }

    fn answer(&self, totals: Option<&Totals>, mut plays: Vec<Play>) -> Answer<'_> {
        let more = plays.len() > self.limit as usize;
        plays.truncate(self.limit as usize);
        let last = plays.last().map(|play| Cursor { started: play.started, place: play.place }.to_string());
        Answer {
            user_id: &self.id,
            from: self.range.from,
            to: self.range.to,
            totals: totals.into(),
            history: plays.into_iter().map(Entry::from).collect(),
            next_cursor: last.filter(|_| more),
        }
    }
}

impl From<Option<&Totals>> for Sum {
    fn from(totals: Option<&Totals>) -> Self {
        let Some(t) = totals else {
            return Self { plays: 0, streams: 0, tracks: 0, heard_s: 0.0, skips: 0, completed: 0 };
        };
        let (tracks, heard_s) = (t.tracks, seconds(t.heard_ms));
        Self { plays: t.plays, streams: t.streams, tracks, heard_s, skips: t.skips, completed: t.completed }
    }
}

impl From<Play> for Entry {
    fn from(play: Play) -> Self {
        Self {
            track_id: play.track_id,
            started_at: timestamp(play.started),
            heard_s: seconds(play.heard_ms),
            stream: play.is_stream == 1,
            completed: play.completed == 1,
            skipped: play.skipped == 1,
            device: play.device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = Cursor { started: 1_795_251_600_123, place: u64::MAX };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in
            ["", "-", "1", "1-", "-1", "+1-1", "1-+1", "g-1", "1-1-1", "ffffffffffffffff-0", "1-1ffffffffffffffff"]
        {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
