//! Tracks, as operators register them with the catalog, and warm orders, as the catalog gives them to edges.

use serde::{Deserialize, Serialize};

use crate::content::ObjectRef;
use crate::{FieldError, ObjectKey, PopId, TrackId};

/// How a rendition is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenditionKind {
    /// `key` is an HLS multivariant playlist; its ladder hangs below it.
    Hls,
    /// `key` is one file.
    Progressive,
}

impl RenditionKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hls => "hls",
            Self::Progressive => "progressive",
        }
    }
}

/// One way to play a track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    pub kind: RenditionKind,
    /// Where a player starts.
    pub key: ObjectKey,
    /// RFC 6381, such as `mp4a.40.2`.
    pub codec: String,
    /// Highest bitrate, in kbit/s.
    pub bitrate_kbps: u32,
}

/// Body of `PUT /v1/tracks/{track_id}`: what is already uploaded to the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackSpec {
    pub title: String,
    pub artist: String,
    pub duration_ms: u64,
    pub renditions: Vec<Rendition>,
    /// Every object of every rendition; what an edge fetches to hold the whole track.
    pub objects: Vec<ObjectRef>,
}

impl TrackSpec {
    /// What types alone do not refuse.
    ///
    /// # Errors
    /// [`FieldError`] naming the field.
    pub fn check(&self) -> Result<(), FieldError> {
        for (field, text) in [("title", &self.title), ("artist", &self.artist)] {
            if !(1..=512).contains(&text.len()) || text.contains('\0') {
                return Err(FieldError::new(field, "must be 1 to 512 bytes without NUL"));
            }
        }
        if !(1..=crate::event::MAX_MEDIA_MS).contains(&self.duration_ms) {
            return Err(FieldError::new("duration_ms", "must be above 0 and at most 30 days"));
        }
        if !(1..=16).contains(&self.renditions.len()) {
            return Err(FieldError::new("renditions", "must have 1 to 16 elements"));
        }
        if !(1..=10_000).contains(&self.objects.len()) {
            return Err(FieldError::new("objects", "must have 1 to 10000 elements"));
        }
        for (i, rendition) in self.renditions.iter().enumerate() {
            if !self.objects.iter().any(|object| object.key == rendition.key) {
                return Err(FieldError::new(format!("renditions[{i}].key"), "must be the key of one of the objects"));
            }
        }
        Ok(())
    }
}

/// Body of `POST /v1/tracks/{track_id}/publish`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishOrder {
    /// The POPs to warm before the track goes live; empty means all.
    #[serde(default)]
    pub pops: Vec<PopId>,
}

/// A track as `GET /v1/tracks/{track_id}` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackStatus {
    pub track_id: TrackId,
    /// Counts publications; 0 before the first.
    pub version: u32,
    pub state: TrackState,
    #[serde(flatten)]
    pub spec: TrackSpec,
}

/// Where in its life a track is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackState {
    /// Registered, never published.
    Ready,
    /// Published; the POPs it names are being warmed.
    RollingOut,
    /// Routers send listeners to it.
    Live,
    Withdrawn,
}

impl TrackState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::RollingOut => "rolling_out",
            Self::Live => "live",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Body of an edge's `POST /v1/warm`: at most 10,000 keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmOrder {
    /// As operators name objects: the key of a bucket's; of a web origin's `host/path?query` or a whole URI.
    pub keys: Vec<String>,
}

/// Answer of an edge's `POST /v1/warm`, one result a key in the order's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmAnswer {
    pub results: Vec<WarmResult>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmResult {
    /// As it was ordered.
    pub key: String,
    /// Size of the object that the edge now holds whole; none where it could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes asked of the origin for it: 0 where it was held already.
    #[serde(default)]
    pub fetched: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
