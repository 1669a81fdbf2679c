//! Who hears what now, and how many plays begin: sliding windows over events. Pure: the clock comes in.
//!
//! A session listens from its event on until it says that it ended or paused, or has said nothing for
//! [`SILENCE_MS`]. A play begins with its `play_start`, once, however often that was sent. Events that
//! happened longer ago than the silence, such as those kept offline, are not of now and count nothing.
//! Memory is bounded: sessions by sampling ([`Sample`]), names by their tables ([`Names`]).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use wire::Timestamp;
use wire::event::EventType;

use super::heard::Heard;
use super::names::{Id, Names, OTHER};
use super::picture::{Cell, Picture};
use super::sample::Sample;

/// A session that says nothing for so long is gone. Players report progress every 10 to 30 s.
pub(super) const SILENCE_MS: i64 = 60_000;
/// Plays a second are those of so many seconds.
const RATE_S: i64 = 10;

/// Some 13 MB; beyond it sessions are sampled, and at half of 200,000 a figure for all of them is right
/// to within a percent.
const MOST_SESSIONS: usize = 200_000;
const MOST_TRACKS: usize = 50_000;
const MOST_POPS: usize = 1_000;
/// Different tracks and POPs of one second's plays; beyond it they count without their names.
const MOST_STARTS: usize = 65_536;

#[derive(Debug)]
pub(super) struct Window {
    hasher: RandomState,
    sessions: HashMap<u64, Session>,
    sample: Sample,
    most_sessions: usize,
    tracks: Names,
    pops: Names,
    /// Plays begun, by second, the newest last.
    starts: VecDeque<(i64, Begun)>,
}

/// Plays by track and POP.
type Begun = HashMap<(Id, Id), u32>;

#[derive(Debug, Clone, Copy)]
struct Session {
    play: u64,
    track: Id,
    pop: Id,
    /// When ingest last received an event of it.
    heard_of: i64,
    /// When the newest of its events happened.
    happened: i64,
    /// Whether the play's begin has been counted.
    begun: bool,
    listening: bool,
}

impl Window {
    pub(super) fn new() -> Self {
        Self::of(MOST_SESSIONS, MOST_TRACKS)
    }

    fn of(most_sessions: usize, most_tracks: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            sessions: HashMap::new(),
            sample: Sample::default(),
            most_sessions,
            tracks: Names::new(most_tracks),
            pops: Names::new(MOST_POPS),
            starts: VecDeque::new(),
        }
    }

    /// Takes one event in.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, now: i64) {
        let received = heard.received_at.as_millis().min(now);
        // A player's clock may run ahead.
        let happened = heard.event_ts.as_millis().min(received);
        let key = self.hasher.hash_one(&*heard.event.session_id.0);
        if now - happened >= SILENCE_MS || !self.sample.takes(key) {
            return;
        }
        let play = self.play(heard);
        let known = self.sessions.get(&key).copied();
        if known.is_some_and(|known| !known.is_changed_by(play, happened, heard.event.event_type)) {
            return;
        }
        let mut session = Session {
            play,
            track: self.tracks.id(&heard.event.track_id.0),
            pop: self.pops.id(heard.event.pop.as_ref().map_or("", |pop| &pop.0)),
            heard_of: received,
            happened,
            begun: known.is_some_and(|known| known.play == play && known.begun),
            listening: !ends(heard.event.event_type),
        };
        if heard.event.event_type == EventType::PlayStart && !session.begun {
            session.begun = true;
            self.begin(key, session);
        }
        self.sessions.insert(key, session);
        while self.sessions.len() > self.most_sessions {
            self.sample.halve();
            self.sessions.retain(|key, _| self.sample.takes(*key));
        }
    }

    /// A play without an id is one of its track.
    fn play(&self, heard: &Heard<'_>) -> u64 {
        match &heard.event.play_id {
            Some(play) => self.hasher.hash_one(&*play.0),
            None => self.hasher.hash_one(&*heard.event.track_id.0),
        }
    }

    fn begin(&mut self, key: u64, session: Session) {
        // Those that are taken in but not counted yet would be too many.
        if !self.sample.counts(key) {
            return;
        }
        let second = session.heard_of.div_euclid(1000);
        let at = self.starts.iter().rposition(|(known, _)| *known <= second);
        let known = at.filter(|at| self.starts[*at].0 == second);
        let at = known.unwrap_or_else(|| {
            let at = at.map_or(0, |before| before + 1);
            self.starts.insert(at, (second, Begun::new()));
            at
        });
        let begun = &mut self.starts[at].1;
        let place = if begun.len() < MOST_STARTS { (session.track, session.pop) } else { (OTHER, OTHER) };
        *begun.entry(place).or_default() += 1;
    }

    /// Lets time pass, and tells how things stand.
    pub(super) fn tick(&mut self, at: Timestamp) -> Picture {
        let now = at.as_millis();
        let first = now.div_euclid(1000) - RATE_S + 1;
        self.starts.retain(|(second, _)| *second >= first);
        self.sessions.retain(|_, session| now - session.heard_of < SILENCE_MS);
        let cells = self.count();
        self.sample.settle(now, self.sessions.len(), self.most_sessions);
        self.forget_names();
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of ten seconds")]
        let seconds = (now - first * 1000).max(1) as f64 / 1000.0;
        Picture::new(at, self.sample.shift(), seconds, cells, self.tracks.all(), self.pops.all())
    }

    fn count(&self) -> Vec<Cell> {
        let mut cells: HashMap<(Id, Id), Cell> = HashMap::new();
        let listening = self.sessions.iter().filter(|(key, session)| session.listening && self.sample.counts(**key));
        for (_, session) in listening {
            let place = (session.track, session.pop);
            cells.entry(place).or_insert_with(|| Cell::at(place)).listeners += 1;
        }
        for (place, n) in self.starts.iter().flat_map(|(_, begun)| begun) {
            cells.entry(*place).or_insert_with(|| Cell::at(*place)).begun += n;
        }
        cells.into_values().collect()
    }

    fn forget_names(&mut self) {
        let mut used = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let sessions = self.sessions.values().map(|session| (session.track, session.pop));
        for (track, pop) in sessions.chain(self.starts.iter().flat_map(|(_, begun)| begun.keys().copied())) {
            used.0.insert(track);
            used.1.insert(pop);
        }
        self.tracks.keep(|id| used.0.contains(&id));
        self.pops.keep(|id| used.1.contains(&id));
    }

    /// Sessions that are held.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

impl Session {
    /// Events come late or in another order than they happened; an end of the play before, as players that
    /// fade one into the next send it, is no end of this one.
    fn is_changed_by(self, play: u64, happened: i64, event_type: EventType) -> bool {
        happened >= self.happened && (play == self.play || !ends(event_type))
    }
}

fn ends(event_type: EventType) -> bool {
    matches!(event_type, EventType::Complete | EventType::Skip | EventType::Pause)
}

#[cfg(test)]
mod tests;
