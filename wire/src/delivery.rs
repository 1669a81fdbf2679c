//! Deliveries: what an edge sent to whom, one record a response.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{DecisionId, EdgeId, ObjectKey, PopId, Timestamp};

/// Where the bytes of a response came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStatus {
    /// All from memory.
    Hit,
    /// All were held, some only on disk.
    HitDisk,
    /// Joined a fill that another request had started.
    Collapsed,
    /// Started a fill.
    Miss,
    /// Answered without a body from the cache: a refusal or an origin's failure.
    None,
}

impl CacheStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::HitDisk => "hit_disk",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::None => "none",
        }
    }
}

/// One response of an edge, as `POST /v1/deliveries` and Kafka's `tonearm.deliveries.v1` carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Made once by the edge, so that a batch sent again counts once.
    pub delivery_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
    pub edge_id: EdgeId,
    pub pop: PopId,
    pub key: ObjectKey,
    pub method: String,
    pub status: u16,
    pub cache_status: CacheStatus,
    /// First byte of the range that was asked for; 0 for the whole object.
    pub range_start: u64,
    /// Body bytes handed to the socket.
    pub bytes_sent: u64,
    /// Size of the whole object, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_bytes: Option<u64>,
    /// From the request's head to the response's first byte, in microseconds.
    pub ttfb_us: u64,
    /// From the request's head to the last byte, in microseconds.
    pub duration_us: u64,
    /// False where the client left or the origin failed before the last byte.
    pub complete: bool,
    pub started_at: Timestamp,
    /// The listener's network, cut to /24 or /48.
    pub client_net: String,
    /// TCP's smoothed round trip on the connection at the response's end, in microseconds; none where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_rtt_us: Option<u32>,
    /// Segments that TCP sent again on the connection since the record before this one of the same connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_retransmits: Option<u32>,
    /// What the player said with the request (CMCD, CTA-5004), by key; URLs and keys of no meaning are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cmcd: BTreeMap<String, String>,
}

/// Body of `POST /v1/deliveries`: at most 10,000 records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryBatch {
    pub deliveries: Vec<Delivery>,
}
