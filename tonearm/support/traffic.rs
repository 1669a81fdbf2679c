//! What a crowd of listeners sends, event by event in the order of time, the same for the same seed.
//!
//! Sessions of some ten plays; a play of a track of some three minutes starts, reports every 30 s and ends
//! by completion or skip, eight events in all, now and then with a stall, a pause, a seek or another
//! bitrate. Ids and clocks carry as much chance as real ones do, so that what is measured on them
//! (bytes stored, rows a second) is what real events would show.

mod listener;
mod people;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::event::AcceptedEvent;
use wire::{Timestamp, TrackId};

use listener::Listener;
use people::Library;

/// Ingest processes that accept the events.
const INGESTS: usize = 3;

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub from: Timestamp,
    /// Who listens at any time; each sends an event every 25 s or so.
    pub listeners: usize,
    /// Tracks of the library, chosen by Zipf's law.
    pub tracks: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let from = Timestamp::from_millis(1_795_219_200_000).expect("2026-11-21T00:00:00Z is in range");
        Self { seed: 1, from, listeners: 2000, tracks: 10_000 }
    }
}

/// Events without an end.
pub struct Traffic {
    random: StdRng,
    library: Library,
    listeners: Vec<Listener>,
    /// Whose turn it is, and when.
    turns: BinaryHeap<Reverse<(i64, usize)>>,
    accepted: [u64; INGESTS],
}

impl Traffic {
    pub fn new(plan: Plan) -> Self {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let library = Library::new(plan.tracks);
        let listeners: Vec<Listener> = (0..plan.listeners).map(|_| Listener::new(&mut random)).collect();
        // Nobody begins at once with everybody else: the first plays are spread over as long as one takes.
        let begin = |who| Reverse((plan.from.as_millis() + random.random_range(0..200_000), who));
        let turns = (0..plan.listeners).map(begin).collect();
        Self { random, library, listeners, turns, accepted: [0; INGESTS] }
    }

    /// The name of the track of this rank, from 0.
    pub fn track(rank: usize) -> TrackId {
        people::track(rank)
    }

    fn accept(&mut self, mut event: AcceptedEvent, which: usize) -> AcceptedEvent {
        self.accepted[which] += 1;
        event.ingest_id = format!("ingest-{which}-0a1b2c3d4e5f");
        event.ingest_seq = self.accepted[which];
        event
    }
}

impl Iterator for Traffic {
    type Item = AcceptedEvent;

    fn next(&mut self) -> Option<AcceptedEvent> {
        let Reverse((now, who)) = self.turns.pop()?;
        let (event, next) = self.listeners[who].turn(now, &self.library, &mut self.random);
        self.turns.push(Reverse((next, who)));
        Some(self.accept(event, self.listeners[who].ingest))
    }
}
