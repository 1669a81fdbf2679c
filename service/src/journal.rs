//! Records kept on disk until someone else has them: segments, appended at one end, read and removed at the other.
//!
//! Promised: a record whose append was reported is read, by this process or the next one on this folder,
//! until it is acknowledged, whenever either is killed. At a start the torn tail is cut at the last whole
//! [`record`]; bytes in the middle that are no record are told apart, and what follows them is read. Two
//! processes cannot have one [`folder`]. Not promised: that a record is read once. A kill between the
//! acknowledgement and the [`position`]'s write brings it again, and it has to be known by its id.
//!
//! One thread writes ([`Pen`]), one task reads ([`Journal::read`], [`Journal::advance`]); what both need
//! to know is in the [`Shelf`], under a lock that is never held over a write. Only what is synced is on
//! the shelf, so nothing is read that could still be taken back.

pub mod folder;
pub mod position;
pub mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

pub use folder::{Folder, OpenError};
pub use position::Place;
use position::PositionFile;
use record::{Found, Record};

/// A segment that has this length is followed by another. What is acknowledged is freed by segments.
const SEGMENT_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    /// Only the reader takes it.
    position: Mutex<PositionFile>,
    shelf: Mutex<Shelf>,
    segment_bytes: u64,
}

/// What is on disk, synced.
#[derive(Debug, Default)]
struct Shelf {
    segments: BTreeMap<u64, Segment>,
    /// The number of the next segment.
    next: u64,
    /// The segment that may be appended to.
    open: Option<u64>,
    /// It is being appended to at this moment.
    writing: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Segment {
    length: u64,
    records: u64,
    acknowledged: u64,
}

/// The writer's end: the open segment's file.
#[derive(Debug, Default)]
pub struct Pen(Option<(u64, File)>);

/// Records in their order, all of one segment.
#[derive(Debug)]
pub struct Chunk {
    pub records: Vec<Record>,
    /// Once all of them are acknowledged, so is everything before this place.
    pub to: Place,
    /// Bytes among them that are no records, by their offset.
    pub damage: Vec<(u64, Bytes)>,
}

impl Journal {
    /// Takes the folder and cuts a torn tail off the last segment.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::with_segments(dir, SEGMENT_BYTES)
    }

    pub(crate) fn with_segments(dir: &Path, segment_bytes: u64) -> Result<Self, OpenError> {
        let folder = Folder::open(dir)?;
        let unusable = |error| OpenError::Unusable { dir: dir.to_owned(), error };
        let position = PositionFile::open(&folder.position()).map_err(unusable)?;
        let shelf = recover(&folder, position.place()).map_err(unusable)?;
        Ok(Self { folder, position: Mutex::new(position), shelf: Mutex::new(shelf), segment_bytes })
    }

    pub fn id(&self) -> Uuid {
        self.folder.id()
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes on disk.
    pub fn stored(&self) -> u64 {
        self.shelf().segments.values().map(|segment| segment.length).sum()
    }

    /// Records that are not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.shelf().segments.values().map(|segment| segment.records - segment.acknowledged).sum()
    }

    /// Appends whole records and syncs them. Either all of them are kept or none.
    pub fn append(&self, pen: &mut Pen, parts: &[Vec<u8>], records: u64) -> io::Result<()> {
        let (number, length) = self.begin();
        let written = self.write(pen, number, length, parts);
        self.end(number, written.as_ref().map_or(0, |bytes| *bytes), if written.is_ok() { records } else { 0 });
        if written.is_err() {
            self.take_back(pen, number, length);
        }
        written.map(drop)
    }

    /// The segment to append to, and where.
    fn begin(&self) -> (u64, u64) {
        let mut shelf = self.shelf();
        let open = shelf.open.and_then(|number| Some((number, shelf.segments.get(&number)?.length)));
        shelf.writing = true;
        if let Some((number, length)) = open.filter(|(_, length)| *length < self.segment_bytes) {
            return (number, length);
        }
        let number = shelf.next;
        shelf.next += 1;
        shelf.open = Some(number);
        shelf.segments.insert(number, Segment::default());
        (number, 0)
    }

    fn write(&self, pen: &mut Pen, number: u64, length: u64, parts: &[Vec<u8>]) -> io::Result<u64> {
        let kept = pen.0.take().filter(|(open, _)| *open == number);
        let file = match kept {
            Some((_, file)) => file,
            None => self.folder.create(number)?,
        };
        // In the pen whatever happens next: who takes a failed write back finds the file there.
        let (_, file) = pen.0.insert((number, file));
        debug_assert_eq!(file.metadata()?.len(), length, "only this pen writes");
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_data()?;
        Ok(parts.iter().map(|part| part.len() as u64).sum())
    }

    fn end(&self, number: u64, bytes: u64, records: u64) {
        let mut shelf = self.shelf();
        shelf.writing = false;
        if let Some(segment) = shelf.segments.get_mut(&number) {
            segment.length += bytes;
            segment.records += records;
        }
    }

    /// After a failed write or sync nobody knows what the file holds beyond what was synced before. That is
    /// cut off, where it can be, and nothing is ever appended to this segment again.
    fn take_back(&self, pen: &mut Pen, number: u64, length: u64) {
        if let Some((_, file)) = pen.0.take()
            && let Err(error) = file.set_len(length)
        {
            tracing::warn!(%error, segment = number, "cannot cut off what could not be written to the spool");
        }
        let mut shelf = self.shelf();
        shelf.open = None;
        if length == 0 {
            shelf.segments.remove(&number);
            drop(shelf);
            self.folder.remove(number);
        }
    }

    /// The segment that the next group goes to, unless the open one has its length.
    #[cfg(test)]
    pub(crate) fn writes_to(&self) -> u64 {
        let shelf = self.shelf();
        shelf.open.unwrap_or(shelf.next)
    }

    fn position(&self) -> MutexGuard<'_, PositionFile> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not acknowledged yet: about `limit` bytes, of one segment. None where there is nothing.
    pub fn read(&self, limit: usize) -> io::Result<Option<Chunk>> {
        let from = self.position().place();
        let Some((start, length)) = self.following(from) else { return Ok(None) };
        let file = match File::open(self.folder.segment(start.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(self.vanished(start, length))),
            Err(error) => return Err(error),
        };
        let mut limit = limit as u64;
        loop {
            let end = length.min(start.offset.saturating_add(limit));
            let mut bytes = vec![0; usize::try_from(end - start.offset).expect("a segment fits into memory")];
            file.read_exact_at(&mut bytes, start.offset)?;
            let chunk = cut(start, bytes.into(), end == length);
            if chunk.to != start {
                return Ok(Some(chunk));
            }
            // A record, or what is left of one, that is longer.
            limit = limit.saturating_mul(2);
        }
    }

    fn following(&self, from: Place) -> Option<(Place, u64)> {
        let shelf = self.shelf();
        let (number, segment) = shelf
            .segments
            .range(from.segment..)
            .find(|(number, segment)| segment.length > if **number == from.segment { from.offset } else { 0 })?;
        let offset = if *number == from.segment { from.offset } else { 0 };
        Some((Place { segment: *number, offset }, segment.length))
    }

    /// Someone removed a segment under us. What it held is lost, and said to be.
    fn vanished(&self, start: Place, length: u64) -> Chunk {
        tracing::error!(segment = start.segment, bytes = length - start.offset, "a segment of the spool is gone");
        let to = Place { segment: start.segment, offset: length };
        Chunk { records: Vec::new(), to, damage: Vec::new() }
    }

    /// `records` more are acknowledged: all that lie before `to`.
    pub fn advance(&self, to: Place, records: u64) -> io::Result<()> {
        self.position().store(to)?;
        let done = self.shelf().acknowledge(to, records);
        done.into_iter().for_each(|number| self.folder.remove(number));
        Ok(())
    }
}

impl Shelf {
    /// Counts them, and takes down the segments that have nothing more to send.
    fn acknowledge(&mut self, to: Place, records: u64) -> Vec<u64> {
        if let Some(segment) = self.segments.get_mut(&to.segment) {
            segment.acknowledged = (segment.acknowledged + records).min(segment.records);
        }
        let busy = if self.writing { self.open } else { None };
        let finished = |(number, segment): (&u64, &Segment)| {
            let read = *number < to.segment || *number == to.segment && segment.length <= to.offset;
            (read && busy != Some(*number)).then_some(*number)
        };
        let done: Vec<u64> = self.segments.iter().filter_map(finished).collect();
        for number in &done {
            self.segments.remove(number);
            self.open = self.open.filter(|open| open != number);
        }
        done
    }
}

/// Cuts bytes into records. Bytes that end within the segment may end within a record.
fn cut(start: Place, bytes: Bytes, to_the_end: bool) -> Chunk {
    let (mut records, mut damage, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let offset = start.offset + at as u64;
        match record::find(&bytes, at) {
            Found::Record(record, length) => {
                records.push(record);
                at += length;
            }
            Found::Damage(length) => {
                damage.push((offset, bytes.slice(at..at + length)));
                at += length;
            }
            Found::Tail if to_the_end => {
                damage.push((offset, bytes.slice(at..)));
                at = bytes.len();
            }
            Found::Tail => break,
        }
    }
    Chunk { records, to: Place { segment: start.segment, offset: start.offset + at as u64 }, damage }
}

/// Counts what earlier processes left. What is appended from now on goes to a new segment.
fn recover(folder: &Folder, position: Place) -> io::Result<Shelf> {
    let mut shelf = Shelf::default();
    let numbers = folder.segments()?;
    let last = numbers.last().copied();
    for number in numbers {
        let start = if number == position.segment { position.offset } else { 0 };
        let segment = if number < position.segment {
            None
        } else {
            survey(folder, Place { segment: number, offset: start }, Some(number) == last)?
        };
        match segment {
            Some(segment) => drop(shelf.segments.insert(number, segment)),
            None => folder.remove(number),
        }
    }
    // A number that was used and removed is never used again, or the position would pass over its records.
    shelf.next = last.unwrap_or(0).max(position.segment) + 1;
    Ok(shelf)
}

/// Counts a segment's records from a place on; none where there is nothing. The last one's torn tail is cut off.
fn survey(folder: &Folder, from: Place, is_last: bool) -> io::Result<Option<Segment>> {
    let path = folder.segment(from.segment);
    let bytes = Bytes::from(std::fs::read(&path)?);
    let (mut at, mut records) = (usize::try_from(from.offset).unwrap_or(usize::MAX).min(bytes.len()), 0);
    let mut length = bytes.len() as u64;
    while at < bytes.len() {
        match record::find(&bytes, at) {
            Found::Record(_, taken) => {
                records += 1;
                at += taken;
            }
            Found::Damage(taken) => at += taken,
            Found::Tail => break,
        }
    }
    if is_last && at < bytes.len() {
        tracing::warn!(segment = from.segment, bytes = bytes.len() - at, "the spool's torn tail is cut off");
        length = at as u64;
        let file = File::options().write(true).open(&path)?;
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok((length > from.offset).then_some(Segment { length, records, acknowledged: 0 }))
}

#[cfg(test)]
mod tests;
