//! The journal against a list in memory: whatever is done to it, and wherever it is killed.

use std::collections::BTreeSet;
use std::io::Write;

use proptest::prelude::*;
use wire::topic::Topic;

use super::folder::OpenError;
use super::{Journal, Pen, record};

/// A few records, so that every test rolls and removes segments.
const SEGMENT: u64 = 200;

#[derive(Debug, Clone)]
enum Step {
    /// A group of so many records is appended and synced.
    Append(u8),
    /// A window of about so many bytes is read and acknowledged.
    Drain(u16),
    /// The same, and the process is killed before the position is stored.
    DrainAndKill(u16),
    /// The process is killed while it writes: so many bytes of a group are on disk.
    KillWhileWriting(u8),
    /// It ends and another starts.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..6).prop_map(Step::Append),
        4 => (1u16..400).prop_map(Step::Drain),
        1 => (1u16..400).prop_map(Step::DrainAndKill),
        1 => any::<u8>().prop_map(Step::KillWhileWriting),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The journal in a folder, and what it should hold.
struct Model {
    dir: tempfile::TempDir,
    journal: Option<Journal>,
    pen: Pen,
    /// Synced and not acknowledged, in order. A record is told by its number.
    waiting: Vec<u64>,
    next: u64,
}

impl Model {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Some(Journal::with_segments(dir.path(), SEGMENT).unwrap());
        Self { dir, journal, pen: Pen::default(), waiting: Vec::new(), next: 0 }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn group(&mut self, count: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let payload = format!("{}{}", self.next, "x".repeat((self.next % 40) as usize));
            record::append(&mut bytes, Topic::Listens, self.next.to_string().as_bytes(), payload.as_bytes());
            self.next += 1;
        }
        bytes
    }

    fn append(&mut self, count: u8) {
        let first = self.next;
        let bytes = self.group(count);
        let parts = bytes.chunks(bytes.len().div_ceil(2)).map(<[u8]>::to_vec).collect::<Vec<_>>();
        self.journal.as_ref().unwrap().append(&mut self.pen, &parts, u64::from(count)).unwrap();
        self.waiting.extend(first..self.next);
    }

    /// What is read comes in order, and nothing is passed over.
    fn drain(&mut self, limit: u16, store: bool) {
        let Some(chunk) = self.journal().read(usize::from(limit)).unwrap() else {
            return assert!(self.waiting.is_empty(), "{:?} wait and cannot be read", self.waiting);
        };
        let read: Vec<u64> =
            chunk.records.iter().map(|r| std::str::from_utf8(&r.key).unwrap().parse().unwrap()).collect();
        assert!(chunk.damage.is_empty() && !read.is_empty());
        assert_eq!(read, self.waiting[..read.len()]);
        if store {
            self.journal().advance(chunk.to, read.len() as u64).unwrap();
            self.waiting.drain(..read.len());
        }
    }

    fn restart(&mut self) {
        self.journal = None;
        self.pen = Pen::default();
        self.journal = Some(Journal::with_segments(self.dir.path(), SEGMENT).unwrap());
    }

    /// A part of a group is there, and its last record is not whole: it was not synced, so nobody was answered.
    fn kill_while_writing(&mut self, share: u8) {
        let (first, bytes) = (self.next, self.group(3));
        let cut = (bytes.len() - 1) * usize::from(share) / 255;
        let path = self.journal().folder().segment(self.journal().writes_to());
        std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(&bytes[..cut]).unwrap();
        let whole = whole_records(&bytes[..cut]);
        // Those that are whole all the same are sent: who was not answered sends again, and the sink filters.
        self.waiting.extend(first..first + whole);
        self.restart();
    }

    fn check(&self) {
        assert_eq!(self.journal().waiting(), self.waiting.len() as u64);
        let folder = self.journal().folder();
        let on_disk: u64 =
            folder.segments().unwrap().iter().map(|n| folder.segment(*n).metadata().unwrap().len()).sum();
        assert_eq!(self.journal().stored(), on_disk);
    }
}

fn whole_records(bytes: &[u8]) -> u64 {
    let (bytes, mut at, mut whole) = (bytes.to_vec().into(), 0, 0);
    while let record::Found::Record(_, length) = record::find(&bytes, at) {
        at += length;
        whole += 1;
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]
    #[test]
    fn holds_what_was_synced_until_it_is_acknowledged(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Append(count) => model.append(count),
                Step::Drain(limit) => model.drain(limit, true),
                Step::DrainAndKill(limit) => {
                    model.drain(limit, false);
                    model.restart();
                }
                Step::KillWhileWriting(share) => model.kill_while_writing(share),
                Step::Restart => model.restart(),
            }
            model.check();
        }
        while !model.waiting.is_empty() {
            model.drain(100, true);
        }
        prop_assert!(model.journal().read(100).unwrap().is_none());
        prop_assert_eq!(model.journal().stored(), 0, "what is acknowledged is removed");
    }

    #[test]
    fn damage_is_set_apart_and_its_neighbours_are_read(at in 0usize..2000, flip in 1u8..=255) {
        let mut model = Model::new();
        (0..6).for_each(|_| model.append(4));
        let folder = model.journal().folder();
        let segments = folder.segments().unwrap();
        let path = folder.segment(segments[at % (segments.len() - 1)]);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        std::fs::write(&path, bytes).unwrap();
        if flip % 2 == 0 {
            model.restart();
        }
        let (mut read, mut damaged) = (BTreeSet::new(), 0);
        while let Some(chunk) = model.journal().read(100).unwrap() {
            read.extend(chunk.records.iter().map(|r| std::str::from_utf8(&r.key).unwrap().parse::<u64>().unwrap()));
            damaged += chunk.damage.len();
            model.journal().advance(chunk.to, chunk.records.len() as u64).unwrap();
        }
        prop_assert_eq!((read.len(), damaged), (model.waiting.len() - 1, 1));
        prop_assert_eq!(model.journal().stored(), 0);
    }
}

#[test]
fn a_number_of_a_segment_is_never_used_twice() {
    let mut model = Model::new();
    for _ in 0..3 {
        model.append(5);
        model.drain(u16::MAX, true);
        assert_eq!(model.journal().stored(), 0);
        model.restart();
    }
    model.append(1);
    assert_eq!(model.journal().folder().segments().unwrap(), [4]);
    model.drain(1, true);
}

#[test]
fn one_process_has_the_folder() {
    let model = Model::new();
    assert!(matches!(Journal::open(model.dir.path()), Err(OpenError::InUse(_))));
    let id = model.journal().id();
    model.journal().folder().release();
    assert_eq!(Journal::open(model.dir.path()).unwrap().id(), id, "the folder's id stays");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Journal::open(&file.path().join("spool")).unwrap_err();
    assert!(matches!(&error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains(&file.path().display().to_string()));
}

#[test]
fn a_failed_write_leaves_what_was_synced_before_it() {
    let mut model = Model::new();
    while model.journal().stored() < SEGMENT {
        model.append(2);
    }
    // The next segment cannot be created: a folder has its name.
    let next = model.journal().folder().segment(2);
    std::fs::create_dir(&next).unwrap();
    let bytes = model.group(3);
    model.next -= 3;
    assert!(model.journal.as_ref().unwrap().append(&mut model.pen, std::slice::from_ref(&bytes), 3).is_err());
    std::fs::remove_dir(&next).unwrap();
    model.check();
    model.append(3);
    model.restart();
    model.check();
    while !model.waiting.is_empty() {
        model.drain(100, true);
    }
}
