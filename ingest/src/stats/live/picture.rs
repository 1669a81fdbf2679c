//! How things stood at one moment, and the message about it for each that asks: made when first asked
//! for and shared by all who ask for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use wire::live::{LIVE_VERSION, LiveState, LiveStats, NowCounts, PopNow, TrackNow};
use wire::{PopId, Timestamp, TrackId};

use super::names::Id;

/// How many tracks and POPs a message names.
const NAMED: usize = 100;

/// Listeners and plays of one track at one POP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) track: Id,
    pub(super) pop: Id,
    pub(super) listeners: u32,
    pub(super) begun: u32,
}

impl Cell {
    pub(super) fn at((track, pop): (Id, Id)) -> Self {
        Self { track, pop, listeners: 0, begun: 0 }
    }
}

type Names = Arc<[Option<Arc<str>>]>;

/// What a subscriber wants to see; everything where both are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub(crate) track: Option<TrackId>,
    pub(crate) pop: Option<PopId>,
}

#[derive(Debug)]
pub(super) struct Picture {
    at: Timestamp,
    state: LiveState,
    /// It stands for what is not known yet.
    nothing: bool,
    /// Each cell's figures stand for two to this power.
    shift: u32,
    /// The seconds that `begun` counts.
    seconds: f64,
    /// Sorted by track.
    cells: Vec<Cell>,
    tracks: Names,
    pops: Names,
    /// At most one for each subscriber.
    messages: Mutex<HashMap<Filter, Utf8Bytes>>,
}

impl Picture {
    pub(super) fn new(
        at: Timestamp,
        shift: u32,
        seconds: f64,
        mut cells: Vec<Cell>,
        tracks: Names,
        pops: Names,
    ) -> Self {
        cells.sort_unstable_by_key(|cell| cell.track);
        Self {
            at,
            state: LiveState::Live,
            nothing: false,
            shift,
            seconds,
            cells,
            tracks,
            pops,
            messages: Mutex::default(),
        }
    }

    /// Nothing, before there is anything to tell.
    pub(super) fn nothing() -> Self {
        let nothing = Self::new(Timestamp::now(), 0, 1.0, Vec::new(), Arc::new([]), Arc::new([]));
        Self { nothing: true, state: LiveState::CatchingUp, ..nothing }
    }

    pub(super) fn in_state(self, state: LiveState) -> Self {
        Self { state, ..self }
    }

    /// The same figures, which no longer move.
    pub(super) fn stalled(&self) -> Self {
        let (tracks, pops) = (self.tracks.clone(), self.pops.clone());
        let same = Self::new(self.at, self.shift, self.seconds, self.cells.clone(), tracks, pops);
        Self { nothing: self.nothing, state: LiveState::Stalled, ..same }
    }

    pub(super) fn state(&self) -> LiveState {
        self.state
    }

    /// When these figures were taken.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether there never was a figure.
    pub(super) fn is_nothing(&self) -> bool {
        self.nothing && self.state != LiveState::Live
    }

    /// The message for one who asks for `filter`.
    pub(super) fn message(&self, filter: &Filter) -> Utf8Bytes {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = messages.get(filter) {
            return message.clone();
        }
        let stats = self.stats(filter);
        let message: Utf8Bytes =
            serde_json::to_string(&stats).expect("wire payloads are structs of texts, numbers and lists").into();
        messages.insert(filter.clone(), message.clone());
        message
    }

    pub(super) fn stats(&self, filter: &Filter) -> LiveStats {
        let cells = self.matching(filter);
        let (mut all, mut by_track, mut by_pop) = (Sum::default(), HashMap::new(), HashMap::new());
        for cell in cells {
            all.add(cell);
            by_track.entry(cell.track).or_insert_with(Sum::default).add(cell);
            by_pop.entry(cell.pop).or_insert_with(Sum::default).add(cell);
        }
        let (tracks, other_tracks) = self.named(by_track, &self.tracks);
        let (pops, other_pops) = self.named(by_pop, &self.pops);
        let track = |(name, counts): (Arc<str>, _)| Some(TrackNow { track: TrackId::new(&*name).ok()?, counts });
        LiveStats {
            v: LIVE_VERSION,
            at: self.at,
            state: self.state,
            sampled: 0.5_f64.powi(i32::try_from(self.shift).unwrap_or(i32::MAX)),
            track: filter.track.clone(),
            pop: filter.pop.clone(),
            all: self.counts(all),
            tracks: tracks.into_iter().filter_map(track).collect(),
            other_tracks,
            pops: pops.into_iter().map(|(name, counts)| PopNow { pop: name.as_ref().into(), counts }).collect(),
            other_pops,
        }
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = &Cell> {
        let find = |names: &Names, name: &str| names.iter().position(|known| known.as_deref() == Some(name));
        // A name that nobody listens to has no id, and no cell.
        let id = |at: Option<usize>| at.and_then(|at| Id::try_from(at).ok());
        let track = filter.track.as_ref().map(|track| id(find(&self.tracks, track.as_str())));
        let pop = filter.pop.as_ref().map(|pop| id(find(&self.pops, pop.as_str())));
        let cells = match track {
            None => &self.cells[..],
            Some(None) => &[],
            Some(Some(track)) => {
                let from = self.cells.partition_point(|cell| cell.track < track);
                &self.cells[from..from + self.cells[from..].partition_point(|cell| cell.track == track)]
            }
        };
        cells.iter().filter(move |cell| pop.is_none_or(|pop| pop == Some(cell.pop)))
    }

    /// The most heard by name, and the sum of the rest.
    fn named(&self, sums: HashMap<Id, Sum>, names: &Names) -> (Vec<(Arc<str>, NowCounts)>, NowCounts) {
        let mut rest = Sum::default();
        let mut known = Vec::with_capacity(sums.len());
        for (id, sum) in sums {
            match names.get(id as usize).cloned().flatten() {
                Some(name) => known.push((name, sum)),
                None => rest.merge(sum),
            }
        }
        known.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        for (_, sum) in known.drain(known.len().min(NAMED)..) {
            rest.merge(sum);
        }
        (known.into_iter().map(|(name, sum)| (name, self.counts(sum))).collect(), self.counts(rest))
    }

    fn counts(&self, sum: Sum) -> NowCounts {
        #[allow(clippy::cast_precision_loss, reason = "plays of ten seconds")]
        let begun = (sum.begun << self.shift) as f64;
        // Two digits: more would be noise, and a text of twenty characters each.
        NowCounts {
            listeners: sum.listeners << self.shift,
            plays_per_s: (begun / self.seconds * 100.0).round() / 100.0,
        }
    }
}

/// Ordered by listeners, then by plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    listeners: u64,
    begun: u64,
}

impl Sum {
    fn add(&mut self, cell: &Cell) {
        self.merge(Self { listeners: cell.listeners.into(), begun: cell.begun.into() });
    }

    fn merge(&mut self, other: Self) {
        self.listeners += other.listeners;
        self.begun += other.begun;
    }
}
