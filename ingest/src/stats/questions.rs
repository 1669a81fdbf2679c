//! What can be asked: one file a question, with its SQL and nothing else's.

mod rising;
mod top;
mod track;
mod user;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

pub(super) use rising::Rising;
pub(super) use top::{Top, Window};
pub(super) use track::Track;
pub(super) use user::User;

use super::store::{Store, Trouble};

/// A question with its parameters; equal ones have one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Track(Track),
    Top(Top),
    Rising(Rising),
    User(User),
}

impl Question {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Track(_) => "track",
            Self::Top(_) => "top",
            Self::Rising(_) => "rising",
            Self::User(_) => "user",
        }
    }

    /// How long an answer is given again. Charts are refreshed by ClickHouse each minute; a listener's own
    /// history is looked at right after listening.
    pub(super) fn fresh_for(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Track(_) => 10,
            Self::Top(_) | Self::Rising(_) => 30,
            Self::User(_) => 5,
        })
    }

    /// How long an answer may be given instead of a new one. What is about a person is not kept for long: it may
    /// have been erased since.
    pub(super) fn stale_for(&self, most: Duration) -> Duration {
        match self {
            Self::User(_) => most.min(Duration::from_secs(300)),
            Self::Track(_) | Self::Top(_) | Self::Rising(_) => most,
        }
    }

    /// Bytes that the parameters take, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::User(user) => user.size(),
            Self::Track(_) | Self::Top(_) | Self::Rising(_) => 256,
        }
    }

    /// The answer as a JSON object.
    ///
    /// # Errors
    /// [`Trouble`] when ClickHouse gives none.
    pub(super) async fn ask(&self, store: &Store) -> Result<Bytes, Trouble> {
        match self {
            Self::Track(track) => track.ask(store).await,
            Self::Top(top) => top.ask(store).await,
            Self::Rising(rising) => rising.ask(store).await,
            Self::User(user) => user.ask(store).await,
        }
    }
}

/// What plays add up to, in every answer the same.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, clickhouse::Row)]
struct Sums {
    plays: u64,
    streams: u64,
    listeners: u64,
    heard_ms: u64,
    skips: u64,
    completed: u64,
}

/// [`Sums`] as products read them.
#[derive(Debug, Serialize)]
struct Figures {
    /// Plays begun.
    plays: u64,
    /// Of these, plays of which at least 30 s were heard.
    streams: u64,
    /// Different listeners; a session counts as one where the listener is not known.
    listeners: u64,
    heard_s: f64,
    skips: u64,
    completed: u64,
    /// The share of plays that were heard to the end; absent where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<f64>,
}

impl From<Sums> for Figures {
    fn from(sums: Sums) -> Self {
        let Sums { plays, streams, listeners, heard_ms, skips, completed } = sums;
        let completion = (plays > 0).then(|| (ratio(completed, plays) * 1e4).round() / 1e4);
        Self { plays, streams, listeners, heard_s: seconds(heard_ms), skips, completed, completion }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of plays stay far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[allow(clippy::cast_precision_loss, reason = "2^52 ms are a hundred thousand years")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).expect("answers are structs of texts, numbers and lists").into()
}

/// ClickHouse's times are inside what a [`Timestamp`] holds, for ingest let in no other.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millis(0).expect("the epoch is an instant").saturating_add_millis(ms)
}
