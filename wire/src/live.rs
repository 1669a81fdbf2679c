//! Who listens at this moment: what `GET /v1/stats/live` sends each second and `GET /v1/stats/now` once.

use serde::{Deserialize, Serialize};

use crate::{PopId, Timestamp, TrackId};

/// The version of [`LiveStats`]; also the WebSocket subprotocol's last part. Fields may be added within
/// one version.
pub const LIVE_VERSION: u32 = 1;

/// The WebSocket subprotocol that carries [`LiveStats`] as texts.
pub const LIVE_PROTOCOL: &str = "tonearm.live.v1";

/// The figures of one moment, for everything or for what a subscriber asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStats {
    pub v: u32,
    /// The moment these figures are for.
    pub at: Timestamp,
    pub state: LiveState,
    /// The share of sessions that was looked at, 1 unless there are more than can be kept in memory; all
    /// figures are scaled up by it.
    pub sampled: f64,
    /// What the subscriber asked for; absent where it was everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<TrackId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<PopId>,
    #[serde(flatten)]
    pub all: NowCounts,
    /// By track, most listeners first, at most 100 of them; the rest is summed in `other_tracks`.
    pub tracks: Vec<TrackNow>,
    pub other_tracks: NowCounts,
    /// By point of presence, most listeners first; players that named none are under `""`. At most 100;
    /// the rest is summed in `other_pops`.
    pub pops: Vec<PopNow>,
    pub other_pops: NowCounts,
}

/// How far the figures can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveState {
    /// All events up to the last second are in.
    Live,
    /// Older events are still being read: the figures are too low.
    CatchingUp,
    /// Kafka is away: the figures are those of `at` and do not move.
    Stalled,
}

/// Listeners and plays of one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NowCounts {
    /// Sessions that are hearing something: the last event came within a minute, and was no end and no pause.
    pub listeners: u64,
    /// Plays begun a second, over the last ten seconds.
    pub plays_per_s: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackNow {
    pub track: TrackId,
    #[serde(flatten)]
    pub counts: NowCounts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PopNow {
    pub pop: String,
    #[serde(flatten)]
    pub counts: NowCounts,
}
