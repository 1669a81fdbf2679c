//! Routing decisions: what the player is told, and what is stored so that it can be explained.

use serde::{Deserialize, Serialize};

use crate::{DecisionId, EdgeId, PopId, Timestamp, TrackId};

/// Where a round-trip time came from, most trusted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RttSource {
    /// Nothing has been measured yet.
    Unknown,
    /// The router's own probes.
    Probe,
    /// Probes shrunk towards what listeners of the same network measured.
    Listeners,
}

/// One edge that was considered, with every input that the policy read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub pop: PopId,
    pub edge: EdgeId,
    /// Smoothed round-trip time, in milliseconds; none where nothing was measured.
    pub rtt_ms: Option<f64>,
    pub rtt_source: RttSource,
    /// RFC 3550's interarrival jitter over round trips, in milliseconds.
    pub jitter_ms: f64,
    /// Share of probes lost in the window, 0 to 1.
    pub loss: f64,
    /// The edge's busiest resource, 0 to 1 (see [`crate::load::LoadReport::load`]).
    pub load: f64,
    /// Network out against capacity, 0 to 1.
    pub network_load: f64,
    /// 1 is the one to use; the rest are where to go next.
    pub rank: u32,
    pub reason: String,
}

/// An edge that was left out, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    pub pop: PopId,
    pub edge: EdgeId,
    pub reason: String,
}

/// How the decision was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Route,
    Play,
}

/// A decision as Kafka's `tonearm.decisions.v1` carries it and `GET /v1/decisions/{id}` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub decision_id: DecisionId,
    pub decided_at: Timestamp,
    pub router_id: String,
    pub via: Via,
    pub policy: String,
    pub track_id: TrackId,
    /// The listener's network, cut to /24 or /48.
    pub client_net: String,
    /// Counts the changes of fleet and tracks that this router had seen.
    pub snapshot_version: u64,
    /// How long the listener may keep to it, in seconds.
    pub ttl_s: u32,
    pub candidates: Vec<Candidate>,
    pub excluded: Vec<Excluded>,
}

impl Decision {
    /// The candidate that was picked. A decision without one is never made.
    #[must_use]
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.first()
    }
}

/// A candidate as a player sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteCandidate {
    /// The progressive file, ready to play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The HLS multivariant playlist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hls_url: Option<String>,
    /// Fetch this to measure the round trip.
    pub probe_url: String,
    #[serde(flatten)]
    pub inputs: Candidate,
}

/// The answer to `GET /v1/route?track=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteAnswer {
    pub decision_id: DecisionId,
    pub policy: String,
    pub ttl_s: u32,
    pub candidates: Vec<RouteCandidate>,
    pub excluded: Vec<Excluded>,
}
