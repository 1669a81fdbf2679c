//! Answers under way, noted where a kill does not reach: in a file of the spool's folder that is mapped and shared.
//!
//! What is stored to such a mapping is the system's as soon as it is stored. An answer takes a place in it before its
//! first byte goes out, says there how far it has come, and gives the place back when its record is on disk. What a
//! killed process leaves there, the next one makes records of, under the ids that the answers had from the start; a
//! record that was on disk already comes a second time, and is known by its id.
//!
//! Not noted, and lost in a kill: answers beyond [`PLACES`], and those whose key does not fit. A key that leaves too
//! little room for what the player said is noted without it. A loss of power leaves some pages as they were and
//! others not, so what was noted under another boot is not read.

mod free;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};
use uuid::Uuid;
use wire::delivery::{CacheStatus, Delivery};
use wire::{ClientNet, DecisionId, EdgeId, PopId, Timestamp};

use super::{Progress, Told};
use crate::key::KeyRef;
use crate::server::tcp::TcpNote;
use free::Free;

/// Answers that can be under way, or wait for the disk, at a time.
pub const PLACES: u32 = 16 << 10;

const FILE: &str = "under-way";
/// The first page says what the file is: the format, and the boot it was written under.
const HEAD_BYTES: usize = 4096;
const FORMAT: u64 = u64::from_le_bytes(*b"notes\0\0\x02");

/// A place, in words of 8 bytes.
const WORDS: usize = 256;
const PLACE_BYTES: usize = WORDS * 8;
const BYTES: usize = HEAD_BYTES + PLACES as usize * PLACE_BYTES;

/// Whether there is a note, which is said last.
const STATE: usize = 0;
const TAKEN: u64 = 1;
/// Of the texts, in bytes: the host, the target, what the player said. Each begins at a word of its own.
const LENGTHS: usize = 1;
const ID: usize = 2;
const DECISION: usize = 4;
const STARTED_AT: usize = 6;
const RANGE_START: usize = 7;
const OBJECT_BYTES: usize = 8;
const CLIENT: usize = 9;
/// The status, and what is yes or no.
const KIND: usize = 10;
const SENT: usize = 11;
const TTFB: usize = 12;
const DURATION: usize = 13;
const CACHE_STATUS: usize = 14;
const TCP: usize = 15;
const COMPLETE: usize = 16;
/// What will have been sent once the write that is under way is done, and whether that is all.
const INTENDED: usize = 17;
const TEXT: usize = 18;

const HEAD: u64 = 1 << 16;
const HTTPS: u64 = 1 << 17;
const NONE: u64 = u64::MAX;
const CACHE_STATUSES: [CacheStatus; 5] =
    [CacheStatus::None, CacheStatus::Hit, CacheStatus::HitDisk, CacheStatus::Collapsed, CacheStatus::Miss];

#[derive(Debug)]
pub struct Notes {
    map: MmapRaw,
    free: Free,
}

/// One answer's place; free again when it is dropped.
#[derive(Debug)]
pub struct Note {
    notes: Arc<Notes>,
    place: u32,
}

impl Notes {
    /// The notes of a spool's folder, which this process has to itself, and what an earlier process left in them.
    ///
    /// # Errors
    /// When the disk has no room for them, or the system cannot map them.
    pub fn open(dir: &Path) -> io::Result<(Arc<Self>, Vec<Note>)> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Self::of_boot(dir, boot.trim().parse().map_err(io::Error::other)?)
    }

    fn of_boot(dir: &Path, boot: Uuid) -> io::Result<(Arc<Self>, Vec<Note>)> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.join(FILE))?;
        let head = [&FORMAT.to_le_bytes()[..], boot.as_bytes()].concat();
        let mut found = vec![0; head.len()];
        let readable = file.metadata()?.len() == BYTES as u64 && file.read_exact_at(&mut found, 0).is_ok();
        let taken = match readable && found == head {
            true => taken(&file)?,
            false => {
                file.set_len(0)?;
                Vec::new()
            }
        };
        // A page that the disk has no room for would end the process when it is written to.
        fallocate(&file, FallocateFlags::empty(), 0, BYTES as u64)?;
        file.write_all_at(&head, 0)?;
        let map = MmapOptions::new().len(BYTES).map_raw(&file)?;
        let notes = Arc::new(Self { map, free: Free::without(PLACES, &taken) });
        let left = taken.into_iter().map(|place| Note { notes: notes.clone(), place }).collect();
        Ok((notes, left))
    }

    /// Notes an answer that is about to go out; none where there is no place or its key is too long.
    #[must_use]
    pub fn note(self: &Arc<Self>, told: &Told<'_>) -> Option<Note> {
        let KeyRef { https, host, target } = told.key;
        let room = (WORDS - TEXT).checked_sub(words_of(host.len()) + words_of(target.len()))?;
        let cmcd = told.cmcd.filter(|cmcd| words_of(cmcd.len()) <= room).unwrap_or_default();
        let place = self.free.take()?;
        let note = Note { notes: self.clone(), place };
        let words = note.words();
        let store = |at: usize, value: u64| words[at].store(value, Relaxed);
        store(LENGTHS, host.len() as u64 | (target.len() as u64) << 16 | (cmcd.len() as u64) << 32);
        let mut at = TEXT;
        for text in [host, target, cmcd] {
            write(&words[at..], text.as_bytes());
            at += words_of(text.len());
        }
        let wide = |at: usize, id: Uuid| {
            let (high, low) = id.as_u64_pair();
            store(at, high);
            store(at + 1, low);
        };
        wide(ID, told.id);
        wide(DECISION, told.decision_id.map_or(Uuid::nil(), |decision| decision.0));
        store(STARTED_AT, told.started_at.as_millis().cast_unsigned());
        store(RANGE_START, told.range_start);
        store(OBJECT_BYTES, told.object_bytes.unwrap_or(NONE));
        store(CLIENT, packed(told.client));
        let kind = u64::from(told.status) | if told.head { HEAD } else { 0 } | if https { HTTPS } else { 0 };
        store(KIND, kind);
        note.progress(&told.progress);
        note.words()[STATE].store(TAKEN, Release);
        Some(note)
    }

    #[allow(unsafe_code, reason = "a mapping that others may see is read and written as atomics are")]
    fn words(&self, place: u32) -> &[AtomicU64] {
        let at = HEAD_BYTES + place as usize * PLACE_BYTES;
        assert!(at + PLACE_BYTES <= self.map.len(), "past the end");
        // SAFETY: it lies in the mapping, which lives as long as what is borrowed, is of whole pages, and so are the
        // places aligned; whatever the bytes are, they are numbers, and nothing but atomics touches them.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().add(at).cast::<AtomicU64>(), WORDS) }
    }
}

/// The places that have a note. Read, not mapped: that would take memory for all of them.
fn taken(file: &File) -> io::Result<Vec<u32>> {
    let mut taken = Vec::new();
    let mut some = vec![0; 256 * PLACE_BYTES];
    for first in (0..PLACES).step_by(256) {
        file.read_exact_at(&mut some, (HEAD_BYTES + first as usize * PLACE_BYTES) as u64)?;
        let states = some.chunks_exact(PLACE_BYTES).map(|place| &place[STATE * 8..STATE * 8 + 8]);
        taken.extend((first..).zip(states).filter(|(_, state)| *state == TAKEN.to_ne_bytes()).map(|(place, _)| place));
    }
    Ok(taken)
}

impl Note {
    fn words(&self) -> &[AtomicU64] {
        self.notes.words(self.place)
    }

    /// How far the answer has come.
    pub fn progress(&self, progress: &Progress) {
        let words = self.words();
        let store = |at: usize, value: u64| words[at].store(value, Relaxed);
        store(SENT, progress.bytes_sent);
        store(TTFB, progress.ttfb_us);
        store(DURATION, progress.duration_us);
        let at = CACHE_STATUSES.iter().position(|status| *status == progress.cache_status);
        store(CACHE_STATUS, at.unwrap_or_default() as u64);
        store(TCP, progress.tcp.map_or(NONE, |tcp| u64::from(tcp.rtt_us) << 32 | u64::from(tcp.retransmits)));
        store(COMPLETE, progress.complete.into());
        store(INTENDED, 0);
    }

    /// Bytes are about to be handed to the socket, after which so many were sent. What a kill finds there was sent: the
    /// system takes them before it tells.
    pub fn intend(&self, bytes_sent: u64, is_all: bool) {
        self.words()[INTENDED].store(bytes_sent << 1 | u64::from(is_all), Relaxed);
    }

    /// The record of it; none where what stands there is none, or has no object's name.
    #[must_use]
    pub fn delivery(&self, edge: &EdgeId, pop: &PopId) -> Option<Delivery> {
        let words = self.words();
        let load = |at: usize| words[at].load(Relaxed);
        let (intended, is_all) = (load(INTENDED) >> 1, load(INTENDED) & 1 == 1);
        let wide = |at: usize| Uuid::from_u64_pair(load(at), load(at + 1));
        let [host, target, cmcd] = [0, 16, 32].map(|shift| usize::from((load(LENGTHS) >> shift) as u16));
        let mut at = TEXT;
        let mut text = |length: usize| {
            let text = read(words.get(at..)?, length)?;
            at += words_of(length);
            Some(text)
        };
        let (host, target, cmcd) = (text(host)?, text(target)?, text(cmcd)?);
        let key = KeyRef { https: load(KIND) & HTTPS != 0, host: &host, target: &target };
        let told = Told {
            id: wide(ID),
            key,
            object_bytes: Some(load(OBJECT_BYTES)).filter(|bytes| *bytes != NONE),
            decision_id: Some(wide(DECISION)).filter(|id| !id.is_nil()).map(DecisionId),
            head: load(KIND) & HEAD != 0,
            status: load(KIND) as u16,
            range_start: load(RANGE_START),
            started_at: Timestamp::from_millis(load(STARTED_AT).cast_signed())?,
            client: unpacked(load(CLIENT)),
            cmcd: Some(cmcd.as_str()).filter(|cmcd| !cmcd.is_empty()),
            progress: Progress {
                bytes_sent: load(SENT).max(intended),
                ttfb_us: load(TTFB),
                duration_us: load(DURATION),
                cache_status: *CACHE_STATUSES.get(usize::try_from(load(CACHE_STATUS)).ok()?)?,
                tcp: Some(load(TCP))
                    .filter(|tcp| *tcp != NONE)
                    .map(|tcp| TcpNote { rtt_us: (tcp >> 32) as u32, retransmits: tcp as u32 }),
                complete: load(COMPLETE) == 1 || is_all,
            },
        };
        told.into_delivery(edge, pop)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.words()[STATE].store(0, Release);
        self.notes.free.give(self.place);
    }
}

fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

fn write(words: &[AtomicU64], bytes: &[u8]) {
    for (word, bytes) in words.iter().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_le_bytes(whole), Relaxed);
    }
}

fn read(words: &[AtomicU64], length: usize) -> Option<String> {
    let words = words.get(..words_of(length))?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

fn packed(net: ClientNet) -> u64 {
    match net {
        ClientNet::V4([a, b, c]) => u64::from_be_bytes([4, 0, 0, 0, 0, a, b, c]),
        ClientNet::V6([a, b, c, d, e, f]) => u64::from_be_bytes([6, 0, a, b, c, d, e, f]),
    }
}

fn unpacked(net: u64) -> ClientNet {
    let [version, _, a, b, c, d, e, f] = net.to_be_bytes();
    if version == 4 { ClientNet::V4([d, e, f]) } else { ClientNet::V6([a, b, c, d, e, f]) }
}

#[cfg(test)]
mod tests;
