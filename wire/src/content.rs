//! Content events: what happened to a track, from the catalog's outbox to whoever holds its objects.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ObjectKey, PopId, Timestamp, TrackId};

/// What happened to the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentChange {
    /// A version is to be heard: warm it, then it goes live.
    Published,
    /// The track is no longer to be heard: drop its objects.
    Withdrawn,
}

/// One object of a track in the origin bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    pub key: ObjectKey,
    pub bytes: u64,
    pub content_type: String,
}

/// An event of Kafka's `tonearm.content.v1`, keyed by track, so that one track's events stay in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentEvent {
    /// The outbox row's; the relay may send it twice, consumers act on it once.
    pub event_id: Uuid,
    pub change: ContentChange,
    pub track_id: TrackId,
    /// Counts the track's publications from 1.
    pub version: u32,
    pub occurred_at: Timestamp,
    /// The POPs to warm; empty means all.
    pub pops: Vec<PopId>,
    pub objects: Vec<ObjectRef>,
}
