//! Play events: what a player says it played, and what ingest adds before Kafka has it.

mod borrowed;
mod extra;
mod plain;
mod read;
mod verbatim;
mod write;

use serde::{Deserialize, Serialize};

pub use borrowed::{AcceptedRef, Envelope, EventRef};
pub use extra::{Extra, MAX_EXTRA, Members};
pub use plain::{NotPlain, PlainEvent, PlainEvents};
pub use verbatim::Verbatim;

use crate::{DecisionId, EdgeId, EventId, FieldError, PlayId, PopId, SessionId, Timestamp, TrackId};

/// The longest media time an event may carry: 30 days, in milliseconds. Live radio stays below it;
/// a clock read as a position does not.
pub const MAX_MEDIA_MS: u64 = 30 * 24 * 3600 * 1000;
/// The highest bitrate an event may carry, in kbit/s: lossless multichannel audio stays below it.
pub const MAX_BITRATE_KBPS: u32 = 100_000;
/// The longest free text field, in bytes.
pub const MAX_TEXT: usize = 256;

/// What happened in the player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    PlayStart,
    Progress,
    Pause,
    Resume,
    Seek,
    Complete,
    Skip,
    Error,
    Stall,
    QualityChange,
}

impl EventType {
    /// The most frequent first.
    pub(crate) const ALL: [Self; 10] = [
        Self::Progress,
        Self::PlayStart,
        Self::Complete,
        Self::Skip,
        Self::Pause,
        Self::Resume,
        Self::Seek,
        Self::Stall,
        Self::QualityChange,
        Self::Error,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlayStart => "play_start",
            Self::Progress => "progress",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Seek => "seek",
            Self::Complete => "complete",
            Self::Skip => "skip",
            Self::Error => "error",
            Self::Stall => "stall",
            Self::QualityChange => "quality_change",
        }
    }
}

/// One event as a player posts it to `POST /v1/events`. A field that has no name here goes into `extra`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub event_id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub session_id: SessionId,
    pub track_id: TrackId,
    /// The player's clock when it happened; believed only after correction by `sent_at`.
    pub client_ts: Timestamp,
    /// The player's clock when it sent the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub play_id: Option<PlayId>,
    /// Counts the events of one play from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anon_id: Option<String>,
    /// Where in the track, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_ms: Option<u64>,
    /// How long the track is, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Cumulative audible time of this play, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub played_ms: Option<u64>,
    /// How long playback stood still, in milliseconds, with `stall` or with the `resume` after one; how long the
    /// listener waited for the first sound, with `play_start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pop: Option<PopId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_id: Option<EdgeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
    /// What the edge said in `Cache-Status`, as the player saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// Of this payload; 1 where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
}

/// Whether the listener agreed to being measured as a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    Granted,
    /// What was played still counts; who played it, on which device and in which network is not kept.
    Denied,
}

impl Consent {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
        }
    }
}

impl Event {
    /// Parses one element of a request body.
    ///
    /// # Errors
    /// [`FieldError`] naming the first field that is missing, of another type, or out of its bounds.
    pub fn parse(json: &[u8]) -> Result<Self, FieldError> {
        crate::field::parse(json)
    }
}

/// An event as Kafka's `tonearm.listens.v1` carries it: in `event` the player's words, but for users and devices,
/// which are keyed hashes, and for what consent forbids to keep; around them what only the server knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptedEvent {
    pub event: Event,
    /// The app whose write key posted it.
    pub app: String,
    /// The ingest process that accepted it.
    pub ingest_id: String,
    pub received_at: Timestamp,
    /// `client_ts` and `skew_ms`: when it happened by our clock, never after `received_at`.
    pub event_ts: Timestamp,
    /// How far the player's clock was behind ours when it sent, in milliseconds; network time included.
    pub skew_ms: i64,
    /// The wire format it came in.
    pub wire_format: WireFormat,
    /// ISO 3166-1 alpha-2, from the listener's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The autonomous system of the listener's address; 0 where unknown.
    #[serde(default)]
    pub asn: u32,
    /// The listener's network, cut to /24 or /48; empty where unknown.
    #[serde(default)]
    pub client_net: String,
    /// That process's count from 1, without holes: what one proves, [`crate::tally`] says. 0 is not
    /// written: the event gets its number last, by [`number`].
    #[serde(skip_serializing_if = "is_unnumbered")]
    pub ingest_seq: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_unnumbered(ingest_seq: &u64) -> bool {
    *ingest_seq == 0
}

/// The most that [`number`] adds.
pub const NUMBER_BYTES: usize = ",\"ingest_seq\":18446744073709551615".len();

/// Writes its number into an [`AcceptedEvent`] that was serialised without one.
///
/// A number is promised to reach ClickHouse, so it is given after everything that can refuse the event,
/// the size of its message included.
pub fn number(event: &mut Vec<u8>, ingest_seq: u64) {
    let closed = event.pop();
    debug_assert_eq!(closed, Some(b'}'), "a serialised struct ends so");
    event.extend_from_slice(b",\"ingest_seq\":");
    serde_json::to_writer(&mut *event, &ingest_seq).expect("a number is written to memory");
    event.push(b'}');
}

/// How an event was written when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireFormat {
    Json,
    CloudEvents,
    Cmcd,
    ListenBrainz,
}

impl WireFormat {
    pub(crate) const ALL: [Self; 4] = [Self::Json, Self::CloudEvents, Self::Cmcd, Self::ListenBrainz];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::CloudEvents => "cloudevents",
            Self::Cmcd => "cmcd",
            Self::ListenBrainz => "listenbrainz",
        }
    }
}

/// The answer to a batch: 202 when `errors` is empty, 207 when some were accepted, 400 when none was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    pub accepted: usize,
    pub errors: Vec<ElementError>,
}

/// Why one element of a batch was refused; its neighbours are not touched by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementError {
    /// Position in the batch, from 0.
    pub index: usize,
    /// As sent, where the element had one that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    pub status: u16,
    /// The stable problem type, as in `application/problem+json`.
    #[serde(rename = "type")]
    pub problem_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub detail: String,
    /// Whether the same element may be accepted when sent again.
    pub retryable: bool,
}
