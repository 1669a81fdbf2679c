//! The reference: what a shared cache holds under a key, as far as one can know, and what it may answer.
//!
//! One cannot know all: a kill loses what was not on disk, a fill that broke off leaves some of it. So a key
//! has several worlds, each a stored answer or none. What is seen must be what one of them allows, and those
//! that do not allow it are no more.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::site::{KINDS, Mood, Now, Rule};
use crate::stage::CHUNK;

/// A stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) version: u32,
    rule: Rule,
    /// A soft purge has made it stale.
    soft: bool,
    /// All of its bytes are there for sure.
    whole: bool,
    /// It may stand in for an origin that has just failed, without asking.
    excused: bool,
}

type World = Option<Stored>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    NoCache,
    OnlyIfCached,
    MaxStale,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) head: bool,
    pub(crate) part: bool,
    pub(crate) told: Told,
    /// The client has this version.
    pub(crate) known: Option<u32>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    Version(u32),
    /// As far as it came.
    Broken(u32),
    Failed(u16),
}

impl Got {
    pub(crate) fn version(self) -> Option<u32> {
        match self {
            Self::Version(version) | Self::Broken(version) => Some(version),
            Self::Failed(_) => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) got: Got,
    /// Requests to the origin; none where several requests share them.
    pub(crate) asks: Option<usize>,
    /// `Cache-Status` says so.
    pub(crate) hit: Option<bool>,
}

/// What may come of it in one world.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    got: Got,
    least: usize,
    most: usize,
    /// None where either may be said.
    hit: Option<bool>,
    next: World,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    /// Nothing is held where there is no entry.
    worlds: HashMap<(usize, usize), BTreeSet<World>>,
    /// What was replaced and may still be on disk.
    shadows: HashMap<(usize, usize), BTreeSet<Stored>>,
    /// Questions that were begun behind a client's back and may still come.
    late: HashMap<usize, usize>,
    /// Nobody waits behind anybody for these.
    passing: HashSet<usize>,
}

impl Reference {
    fn worlds(&self, at: (usize, usize)) -> BTreeSet<World> {
        self.worlds.get(&at).cloned().unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// Goes on with the worlds that allow what was seen.
    pub(crate) fn observe(&mut self, at: (usize, usize), ask: Ask, now: Now, seen: Seen) -> Result<(), String> {
        let late = self.late.get(&at.0).copied().unwrap_or(0);
        let worlds = self.worlds(at);
        let outcomes: Vec<Outcome> =
            worlds.iter().flat_map(|world| outcomes(*world, at.0, ask, now, late > 0)).collect();
        let fits: Vec<Outcome> = outcomes.iter().filter(|outcome| outcome.allows(ask, seen, late)).copied().collect();
        let Some(least) = fits.iter().map(|outcome| outcome.least).min() else {
            return Err(format!("{seen:?} to {ask:?} of {at:?}, the origin being {now:?}, is none of {outcomes:#?}"));
        };
        let spent = seen.asks.map_or(0, |asks| asks.saturating_sub(least));
        let begun = fits.iter().any(|outcome| outcome.got != Got::Version(now.version) || outcome.least < outcome.most);
        self.late.insert(at.0, late.saturating_sub(spent) + if begun && now_behind(&worlds) { 3 } else { 0 });
        let passes = now.rule == Rule::NoStore || now.mood != Mood::Well;
        if passes && seen.asks != Some(0) {
            self.passing.insert(at.0);
        } else if seen.asks != Some(0) && seen.asks.is_some() {
            self.passing.remove(&at.0);
        }
        let next: BTreeSet<World> = fits.iter().map(|outcome| outcome.next).collect();
        let gone =
            worlds.iter().flatten().filter(|stored| !next.iter().flatten().any(|kept| kept.version == stored.version));
        self.shadows.entry(at).or_default().extend(gone);
        self.worlds.insert(at, next);
        Ok(())
    }

    /// What a crowd may cost the origin where nothing of it is late or passed through; else no bound is known.
    pub(crate) fn most_for_a_crowd(&self, at: (usize, usize), now: Now) -> Option<usize> {
        let quiet = self.late.get(&at.0).is_none_or(|late| *late == 0) && !self.passing.contains(&at.0);
        let known = self
            .worlds(at)
            .iter()
            .flatten()
            .all(|stored| stored.whole && !stored.excused && stored.rule == Rule::Fresh);
        let shared = now.rule == Rule::Fresh && now.mood == Mood::Well && !KINDS[at.0].weak;
        (quiet && known && shared).then_some(1)
    }

    /// The origin is another from now on, also for questions that are still on their way.
    pub(crate) fn changed(&mut self, key: usize, now: Now) {
        if self.late.get(&key).is_none_or(|late| *late == 0) {
            return;
        }
        for (_, worlds) in self.worlds.iter_mut().filter(|(at, _)| at.0 == key) {
            let renewed: Vec<World> = worlds.iter().flatten().flat_map(|stored| renewals(*stored, now)).collect();
            worlds.extend(renewed);
        }
    }

    pub(crate) fn purge(&mut self, meant: impl Fn(usize) -> bool, soft: bool) {
        let stale = |stored: Stored| Stored { soft: true, ..stored };
        for (at, worlds) in &mut self.worlds {
            if meant(at.0) {
                *worlds = worlds.iter().map(|world| world.filter(|_| soft).map(stale)).collect();
            }
        }
        for (at, shadows) in &mut self.shadows {
            if meant(at.0) {
                *shadows = shadows.iter().filter(|_| soft).copied().map(stale).collect();
            }
        }
    }

    /// What was whole is on disk by the end of a stop.
    pub(crate) fn restarted(&mut self) {
        self.late.clear();
        self.passing.clear();
        self.shadows.clear();
        for worlds in self.worlds.values_mut() {
            let back = |world: &World| {
                let kept = world.map(|stored| Stored { excused: false, ..stored });
                [kept, kept.filter(|stored| stored.whole)]
            };
            *worlds = worlds.iter().flat_map(back).collect();
        }
    }

    /// The disk has any of what was held lately, and of its life what was written last.
    pub(crate) fn killed(&mut self) {
        let shadows = std::mem::take(&mut self.shadows);
        for (at, worlds) in &mut self.worlds {
            let before = worlds.iter().flatten().chain(shadows.get(at).into_iter().flatten());
            let back = before.flat_map(|stored| {
                let stored = Stored { whole: false, excused: false, ..*stored };
                [None, Some(stored), Some(Stored { soft: true, ..stored })]
            });
            *worlds = back.chain([None]).collect();
        }
        self.late.clear();
        self.passing.clear();
    }
}

fn now_behind(worlds: &BTreeSet<World>) -> bool {
    worlds.iter().flatten().any(|stored| stored.rule == Rule::Behind)
}

impl Outcome {
    fn allows(&self, ask: Ask, seen: Seen, late: usize) -> bool {
        let asks = seen.asks.is_none_or(|asks| asks >= self.least && asks.saturating_sub(late) <= self.most);
        let same = match (self.got, seen.got) {
            // A failure to have bytes is told by a status as long as none was sent.
            (Got::Broken(_), Got::Failed(status)) => matches!(status, 502..=504),
            // Of a body that is not asked for nothing can break.
            (Got::Broken(version), Got::Version(seen)) => ask.head && version == seen,
            (wanted, seen) => wanted == seen,
        };
        same && asks && self.hit.is_none_or(|hit| seen.asks.is_none() || seen.hit.is_none_or(|seen| seen == hit))
    }
}

/// Requests that completing an object may take.
fn fills(key: usize) -> usize {
    KINDS[key].size / CHUNK + 2
}

fn outcomes(world: World, key: usize, ask: Ask, now: Now, late: bool) -> Vec<Outcome> {
    let Some(stored) = world else { return cold(key, ask, now, None, 0) };
    let is_fresh = stored.rule == Rule::Fresh && !stored.soft;
    let mut all = Vec::new();
    let usable = stored.whole || !KINDS[key].weak;
    if !usable {
        // Perhaps it has what is asked for, perhaps nothing of it is of use.
        all.extend(cold(key, ask, now, Some(stored), 0));
    }
    if is_fresh && ask.told != Told::NoCache {
        all.extend(served(stored, key, ask, now, 0));
        return all;
    }
    let bends = stored.rule.bends();
    let unasked = match ask.told {
        Told::NoCache => false,
        Told::MaxStale => bends,
        Told::Nothing | Told::OnlyIfCached => stored.rule == Rule::Behind,
    };
    if unasked || (stored.excused && ask.told != Told::NoCache) || late {
        all.extend(served(stored, key, ask, now, 0));
    }
    if stored.rule == Rule::Behind && ask.told != Told::NoCache {
        all.extend(behind(stored, key, ask, now));
    }
    if ask.told == Told::OnlyIfCached && !(unasked && stored.whole) {
        all.push(Outcome { got: Got::Failed(504), least: 0, most: 0, hit: Some(false), next: world });
    }
    if !unasked && ask.told != Told::OnlyIfCached {
        let asked =
            if ask.head { head(stored, is_fresh, key, ask, now) } else { asked(stored, is_fresh, key, ask, now) };
        all.extend(asked);
    }
    all
}

/// From what is held, after so many questions about it.
fn served(stored: Stored, key: usize, ask: Ask, now: Now, asks: usize) -> Vec<Outcome> {
    let hit = (asks == 0).then_some(true);
    let got = Got::Version(stored.version);
    let whole = Outcome { got, least: asks, most: asks, hit, next: Some(stored) };
    if stored.whole || ask.head || ask.known == Some(stored.version) {
        return vec![Outcome { hit: hit.filter(|_| stored.whole), ..whole }];
    }
    if ask.told == Told::OnlyIfCached {
        // Perhaps the part that is there is the one that is asked for.
        return vec![Outcome { hit: None, ..whole }, Outcome { got: Got::Failed(504), hit: Some(false), ..whole }];
    }
    let most = asks + fills(key);
    let filled = Stored { whole: !ask.part && now.mood != Mood::Cut, ..stored };
    let mut all = vec![Outcome { most, hit: None, next: Some(filled), ..whole }];
    let differs = now.version != stored.version;
    if now.mood != Mood::Well || differs {
        for next in [None, Some(stored)] {
            all.push(Outcome { got: Got::Broken(stored.version), most: most + 3, hit: None, next, ..whole });
        }
    }
    if differs {
        all.extend(cold(key, ask, now, None, asks + 1));
    }
    all
}

/// Served stale, and asked about by the time of the next request.
fn behind(stored: Stored, key: usize, ask: Ask, now: Now) -> Vec<Outcome> {
    let (all, nexts) = (served(stored, key, ask, now, 0).into_iter(), renewals(stored, now));
    all.flat_map(|one| nexts.iter().map(move |next| Outcome { most: one.most + 3, hit: None, next: *next, ..one }))
        .collect()
}

/// What a question behind a client's back may leave.
fn renewals(stored: Stored, now: Now) -> Vec<World> {
    let renewed = Stored { version: now.version, rule: now.rule, soft: false, whole: false, excused: false };
    let renewed = if now.version == stored.version { Stored { whole: stored.whole, ..renewed } } else { renewed };
    let mut nexts = vec![Some(stored), Some(Stored { excused: true, ..stored })];
    if matches!(now.mood, Mood::Well | Mood::Cut) {
        nexts.extend([
            Some(renewed).filter(|_| now.rule != Rule::NoStore),
            Some(Stored { whole: true, ..renewed }),
            None,
        ]);
    }
    nexts
}

/// Asked about first.
fn asked(stored: Stored, is_fresh: bool, key: usize, ask: Ask, now: Now) -> Vec<Outcome> {
    let same = now.version == stored.version;
    let stands_in = |answered| stands_in(stored, is_fresh, answered);
    match now.mood {
        Mood::Well | Mood::Cut if same => {
            let confirmed = Stored { soft: false, excused: false, ..stored };
            served(confirmed, key, ask, now, 1)
        }
        Mood::Well => cold(key, ask, now, None, 0),
        // Perhaps the connection ended before even the head was sent.
        Mood::Cut => {
            let unanswered = if stands_in(false) { excused(stored, key, ask, now) } else { failed(now, Some(stored)) };
            cold(key, ask, now, None, 0).into_iter().chain(unanswered).collect()
        }
        Mood::Error if stands_in(true) => excused(stored, key, ask, now),
        Mood::Reset | Mood::Stall if stands_in(false) => excused(stored, key, ask, now),
        _ => failed(now, Some(stored)),
    }
}

/// Whether what is stale may be served where the origin has failed, `answered` with an error.
fn stands_in(stored: Stored, is_fresh: bool, answered: bool) -> bool {
    let allowed = if answered { stored.rule == Rule::IfError } else { stored.rule.bends() };
    allowed && !is_fresh
}

fn excused(stored: Stored, key: usize, ask: Ask, now: Now) -> Vec<Outcome> {
    let all = served(Stored { excused: true, ..stored }, key, ask, now, 1).into_iter();
    all.map(|one| Outcome { most: one.most + 2, hit: None, ..one }).collect()
}

/// HEAD goes to the origin, and what it says updates or ends what is held.
fn head(stored: Stored, is_fresh: bool, key: usize, ask: Ask, now: Now) -> Vec<Outcome> {
    if !matches!(now.mood, Mood::Well | Mood::Cut) {
        let may_stand_in = stands_in(stored, is_fresh, now.mood == Mood::Error);
        return if may_stand_in { excused(stored, key, ask, now) } else { failed(now, Some(stored)) };
    }
    let same = now.version == stored.version;
    let confirmed = Some(Stored { soft: false, excused: false, ..stored }).filter(|_| same);
    let next = if ask.known == Some(now.version) { Some(stored) } else { confirmed };
    vec![Outcome { got: Got::Version(now.version), least: 1, most: 1, hit: Some(false), next }]
}

fn failed(now: Now, next: World) -> Vec<Outcome> {
    let statuses: &[u16] = if now.mood == Mood::Error { &[503] } else { &[502, 504] };
    let failed = |status: &u16| Outcome { got: Got::Failed(*status), least: 1, most: 3, hit: Some(false), next };
    statuses.iter().map(failed).collect()
}

/// Nothing of use is held.
fn cold(key: usize, ask: Ask, now: Now, held: World, asks: usize) -> Vec<Outcome> {
    if ask.told == Told::OnlyIfCached {
        return vec![Outcome { got: Got::Failed(504), least: 0, most: 0, hit: Some(false), next: held }];
    }
    if !matches!(now.mood, Mood::Well | Mood::Cut) {
        return failed(now, held).into_iter().map(|one| Outcome { most: one.most + asks, ..one }).collect();
    }
    let fresh = Stored { version: now.version, rule: now.rule, soft: false, whole: false, excused: false };
    let got = Got::Version(now.version);
    let one = Outcome { got, least: 1, most: 1 + asks + fills(key), hit: Some(false), next: None };
    if ask.head {
        return vec![Outcome { most: 1 + asks, next: held, ..one }];
    }
    let mut nexts = vec![None];
    if now.rule != Rule::NoStore {
        let whole = !ask.part && now.mood == Mood::Well && ask.known.is_none();
        nexts = vec![Some(Stored { whole, ..fresh })];
        if now.mood == Mood::Cut || ask.known == Some(now.version) || KINDS[key].weak {
            nexts.push(None);
        }
    }
    let mut all: Vec<Outcome> = nexts.iter().map(|next| Outcome { next: *next, ..one }).collect();
    if now.mood == Mood::Cut {
        let broken = Outcome { got: Got::Broken(now.version), most: one.most + 3, ..one };
        all.extend(nexts.iter().chain(&[None]).map(|next| Outcome { next: *next, ..broken }));
        all.extend(failed(now, held));
    }
    all
}
