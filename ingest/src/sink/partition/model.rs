//! A partition that dies anywhere, against a model of what should become of each message.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use uuid::Uuid;
use wire::tally::Tally;

use super::super::window::Known;
use super::*;

const LIMITS: Limits = Limits { rows: 5, bytes: 1 << 20, wait: Duration::from_secs(1) };
const LOG: usize = 40;

/// A message of the log.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Unreadable,
    /// With an id; the operator's are dead letters sent again.
    Row {
        id: u8,
        refused: bool,
        operators: bool,
    },
}

/// Where a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Raw,
    Repeats,
    Dead,
    Refused,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        1 => Just(Sent::Unreadable),
        8 => (0..12u8, prop::bool::weighted(0.15), prop::bool::weighted(0.1))
            .prop_map(|(id, refused, operators)| Sent::Row { id, refused, operators }),
    ]
}

/// What should become of each, said in one loop over the whole log.
fn wanted(log: &[Sent], within: i64) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (offset, sent) in log.iter().enumerate() {
        let Sent::Row { id, refused, operators } = *sent else {
            places.push(Place::Dead);
            continue;
        };
        let had = |at: &usize| {
            matches!(log[*at], Sent::Row { id: other, .. } if other == id) && places[*at] != Place::Repeats
        };
        let earlier = (0..offset).rev().take(within as usize).find(had);
        places.push(match earlier {
            Some(at) if !(operators && places[at] == Place::Refused) => Place::Repeats,
            _ if refused => Place::Refused,
            _ => Place::Raw,
        });
    }
    places
}

/// Kafka and ClickHouse as far as this matters, and a sink that may die anywhere.
struct World {
    log: Vec<Sent>,
    /// The setting, and what it is from the next start on.
    within: u32,
    then: u32,
    committed: i64,
    metadata: String,
    tokens: HashSet<(Place, String)>,
    stored: BTreeMap<i64, Vec<Place>>,
    sink: Partition,
    read: i64,
    inserting: Option<Batch>,
    now: Instant,
}

impl World {
    fn new(log: Vec<Sent>, within: u32, then: u32) -> Self {
        let now = Instant::now();
        let sink = Partition::new(Table::Tallies, 0, None, within);
        let (metadata, tokens, stored) = Default::default();
        let mut world =
            Self { log, within, then, committed: 0, metadata, tokens, stored, sink, read: 0, inserting: None, now };
        world.start();
        world
    }

    fn crash(&mut self) {
        self.within = self.then;
        self.start();
    }

    fn start(&mut self) {
        let intent = Intent::left(&self.metadata, self.committed);
        self.sink = Partition::new(Table::Tallies, self.committed, intent, self.within);
        let back = self.sink.looks_back();
        let known = (self.committed - i64::from(back)..self.committed).filter_map(|offset| self.known(offset));
        let window = Window::recalled(back, known.collect(), self.committed);
        self.sink.remember(window);
        self.read = self.committed;
        self.inserting = None;
    }

    /// What ClickHouse tells of an offset.
    fn known(&self, offset: i64) -> Option<Known> {
        let place = self.stored.get(&offset)?.first()?;
        let Sent::Row { id, .. } = self.log[offset as usize] else { return None };
        let refused = *place == Place::Refused;
        (refused || *place == Place::Raw).then_some(Known { offset, id: Uuid::from_u128(id.into()), refused })
    }

    /// Whether the log has come so far: an operator sends what lies among the dead letters, not what will.
    fn is_there(&self, offset: i64) -> bool {
        match self.log.get(offset as usize) {
            None => false,
            Some(Sent::Row { id, operators: true, .. }) => {
                let same = |sent: &Sent| matches!(sent, Sent::Row { id: other, .. } if other == id);
                !self.log[self.committed as usize..offset as usize].iter().any(same)
            }
            Some(_) => true,
        }
    }

    fn take(&mut self) {
        if !self.is_there(self.read) || self.sink.is_full(&LIMITS) {
            return;
        }
        let sent = self.log[self.read as usize];
        let payload = match sent {
            Sent::Unreadable => b"x".to_vec(),
            Sent::Row { id, .. } => serde_json::to_vec(&tally(id)).unwrap(),
        };
        let is_sent_again = matches!(sent, Sent::Row { operators: true, .. });
        let received_at = Timestamp::from_millis(0).unwrap();
        let message =
            Incoming { partition: 0, offset: self.read, received_at, key: b"", payload: &payload, is_sent_again };
        self.sink.take(&message, self.now).unwrap();
        self.read += 1;
    }

    fn commit(&mut self, seen: bool) {
        if let Some(commit) = self.sink.commit(self.now) {
            (self.committed, self.metadata) = (commit.offset, commit.metadata);
            if seen {
                self.inserting = self.sink.committed(self.now).or(self.inserting.take());
            }
        }
        if !seen {
            self.crash();
        }
    }

    /// All of a batch, or only its first `tables`, before the sink dies.
    fn insert(&mut self, tables: usize) {
        if let Some(batch) = self.inserting.clone() {
            if batch.range.refused.is_none() && self.refuses(&batch) {
                if tables == 3 {
                    self.inserting = None;
                    return self.sink.refused(batch, "no");
                }
                return self.crash();
            }
            for (place, offsets) in parts(&batch).into_iter().take(tables) {
                // ClickHouse looks at the token, never at the rows.
                if !offsets.is_empty() && self.tokens.insert((place, batch.range.token("t", 0))) {
                    offsets.into_iter().for_each(|offset| self.stored.entry(offset).or_default().push(place));
                }
            }
            if tables == 3 {
                self.sink.inserted();
                self.inserting = None;
            }
        }
        if tables < 3 {
            self.crash();
        }
    }

    fn run(&mut self, ops: Vec<u8>) {
        for op in ops {
            match op {
                0..=4 => self.take(),
                5 => self.sink.advance(self.now, &LIMITS, true),
                6 => self.sink.advance(self.now, &LIMITS, false),
                7 => self.commit(true),
                8 => self.insert(3),
                9 => self.commit(false),
                op => self.insert(usize::from(op - 9)),
            }
        }
        for _ in 0..2000 {
            self.take();
            self.sink.advance(self.now, &LIMITS, !self.is_there(self.read));
            self.commit(true);
            self.insert(3);
        }
        assert!(self.sink.is_settled() && self.committed == LOG as i64);
    }

    fn found(&self) -> Vec<Vec<Place>> {
        (0..LOG as i64).map(|offset| self.stored.get(&offset).cloned().unwrap_or_default()).collect()
    }

    fn refuses(&self, batch: &Batch) -> bool {
        row_offsets(batch).iter().any(|offset| matches!(self.log[*offset as usize], Sent::Row { refused: true, .. }))
    }
}

fn row_offsets(batch: &Batch) -> Vec<i64> {
    batch.places.iter().map(|place| place.offset).collect()
}

/// What goes into which table, in the order of the inserts.
fn parts(batch: &Batch) -> [(Place, Vec<i64>); 3] {
    let dead: Vec<i64> = batch.dead.iter().map(|letter| letter.offset).collect();
    let repeats = batch.repeats.iter().map(|repeat| repeat.offset).collect();
    match &batch.range.refused {
        // The insert makes the letter of a row that was refused here; a replay has made it already.
        Some(_) => {
            [(Place::Raw, vec![]), (Place::Repeats, repeats), (Place::Refused, [dead, row_offsets(batch)].concat())]
        }
        None => [(Place::Raw, row_offsets(batch)), (Place::Repeats, repeats), (Place::Dead, dead)],
    }
}

fn tally(id: u8) -> Tally {
    let at = Timestamp::from_millis(0).unwrap();
    let (tally_id, spool_id) = (Uuid::from_u128(id.into()), Uuid::nil());
    Tally {
        tally_id,
        ingest_id: "i".into(),
        spool_id,
        at,
        given: 0,
        settled: 0,
        voids: vec![],
        waiting: 0,
        ended: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_offset_ends_where_it_should_wherever_the_sink_dies(
        log in prop::collection::vec(sent(), LOG),
        within in 1..20u32,
        ops in prop::collection::vec(0..12u8, 0..200),
    ) {
        let mut world = World::new(log.clone(), within, within);
        world.run(ops);
        let wanted: Vec<Vec<Place>> = wanted(&log, within.into()).into_iter().map(|place| vec![place]).collect();
        prop_assert_eq!(world.found(), wanted);
    }

    /// What was announced under the old setting is decided under it.
    #[test]
    fn every_offset_ends_in_one_place_though_the_window_changes(
        log in prop::collection::vec(sent(), LOG),
        windows in (1..20u32, 1..20u32),
        ops in prop::collection::vec(0..12u8, 0..200),
    ) {
        let mut world = World::new(log, windows.0, windows.1);
        world.run(ops);
        prop_assert!(world.found().iter().all(|places| places.len() == 1), "{:?}", world.found());
    }
}
