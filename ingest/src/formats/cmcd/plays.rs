//! What is remembered of a play between its reports.
//!
//! At most 100,000 plays, each for an hour after its last report, in this process alone. What is forgotten, or was told
//! to another process, makes numbers smaller and never larger: a stall before the first `p` that we saw is taken for
//! start-up, and audible time counts what was told here.

use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;
use wire::event::MAX_MEDIA_MS;
use wire::{DecisionId, Timestamp};

const MAX_PLAYS: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(3600);

/// The plays that are being told of.
#[derive(Debug)]
pub(crate) struct Plays(Cache<Uuid, Play>);

/// What a report says of its play.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    /// `sta`'s letter.
    pub(super) state: Option<char>,
    pub(super) decision_id: Option<DecisionId>,
}

/// What a report means, given those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// There has been sound, at or before this report.
    pub(super) started: bool,
    /// With this report.
    pub(super) first_sound: bool,
    /// How long the listener waited for the sound that this report tells of, or for the end of a stall.
    pub(super) waited_ms: Option<u64>,
    /// Audible time so far; none before the first sound.
    pub(super) played_ms: Option<u64>,
    pub(super) decision_id: Option<DecisionId>,
}

impl Plays {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_PLAYS).time_to_idle(IDLE).build())
    }

    /// Takes the report into account.
    pub(super) fn advance(&self, play: Uuid, seen: &Seen) -> Told {
        let mut told = None;
        self.0.entry(play).and_upsert_with(|known| {
            let mut play = known.map(|entry| *entry.value()).unwrap_or_default();
            told = Some(play.advance(seen));
            play
        });
        told.expect("the entry is made or changed, one of both")
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Play {
    started: bool,
    /// The latest report that told a state.
    last: Option<Timestamp>,
    /// Sound, up to when it is counted in `played_ms`.
    playing: Option<Timestamp>,
    /// Since when the listener waits: for the first sound, or while a stall lasts.
    waiting: Option<Timestamp>,
    played_ms: u64,
    decision_id: Option<DecisionId>,
}

impl Play {
    fn advance(&mut self, seen: &Seen) -> Told {
        self.decision_id = seen.decision_id.or(self.decision_id);
        let (mut first_sound, mut waited_ms) = (false, None);
        // A report that is sent again, or comes late, changes nothing.
        let newer = self.last.is_none_or(|last| seen.at >= last);
        if let (Some(state), true) = (seen.state, newer) {
            self.last = Some(seen.at);
            self.count(seen.at);
            first_sound = state == 'p' && !self.started;
            waited_ms = self.enter(state, seen.at);
        }
        Told {
            started: self.started,
            first_sound,
            waited_ms,
            played_ms: self.started.then_some(self.played_ms),
            // One that is sent again must not know more than it did at first.
            decision_id: if newer { self.decision_id } else { seen.decision_id },
        }
    }

    /// Sound up to now is audible time.
    fn count(&mut self, now: Timestamp) {
        if let Some(since) = self.playing.take() {
            let ms = u64::try_from(now.millis_since(since)).unwrap_or(0);
            self.played_ms = self.played_ms.saturating_add(ms).min(MAX_MEDIA_MS);
        }
    }

    /// How long the wait was that ends here.
    fn enter(&mut self, state: char, now: Timestamp) -> Option<u64> {
        let waits = match state {
            's' => !self.started,
            'r' => true,
            // Asked for nothing yet.
            'd' => return None,
            _ => false,
        };
        if waits {
            self.waiting.get_or_insert(now);
            return None;
        }
        if state == 'p' {
            self.started = true;
            self.playing = Some(now);
        }
        let since = self.waiting.take()?;
        u64::try_from(now.millis_since(since)).ok().filter(|ms| *ms <= MAX_MEDIA_MS)
    }
}
