//! One version of one answer of the origin: its head, which chunks of its body are on disk, which fills run.

pub mod chunks;
pub mod fields;
mod fills;
pub mod head;
mod own;
mod packed;
mod rest;
mod shared;
mod target;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use wire::EdgeId;

use crate::freshness::Life;
use crate::key::KeyRef;
use crate::vary::{self, Selectors};
use crate::version;
use chunks::Chunks;
use fills::Fills;
pub use head::{Description, Head};
pub use rest::Rest;
use shared::Site;
use target::Target;

/// Bytes of a chunk: one disk read and one memory entry. Large enough that a hit is few frames, small
/// enough that a cold range costs little more than it asked for.
pub const CHUNK: u64 = 256 << 10;

/// The size of an answer that came without its length and is not at its end yet.
const UNKNOWN: u64 = u64::MAX;

/// There are as many as the disk holds, so that each byte of one is a megabyte: most have one chunk, no fill and no
/// variants, and those that nobody asks for are at [`Rest`].
///
/// What every hit looks at comes first, in the order of the memory's lines: of many objects none is near the processor.
#[derive(Debug)]
#[repr(C)]
pub struct Object {
    site: Arc<Site>,
    head: ArcSwap<Head>,
    /// Unique on this disk: the name of its file and part of its chunks' names in memory.
    pub id: u64,
    size: AtomicU64,
    /// None of most.
    rare: Option<Box<Rare>>,
    readers: AtomicU32,
    /// Whether parts of it from different answers may be put together (RFC 9110, section 15.3.7.3). Where
    /// not, it is of use only as far as its one answer went.
    pub combinable: bool,
    /// The origin sends the whole whatever part is asked for.
    ignores_ranges: AtomicBool,
    /// Superseded, purged or evicted: it stays for those who are reading it, and nobody new gets it.
    ended: AtomicBool,
    /// For the writer: the index log has it.
    logged: AtomicBool,
    /// Of its key, behind the site.
    target: Target,
    on_disk: Chunks,
    disk_bytes: AtomicU64,
    /// Locked only where a chunk is missing.
    fills: Mutex<Fills>,
}

#[derive(Debug)]
struct Rare {
    selectors: Selectors,
    filled_by: Option<EdgeId>,
}

impl Object {
    /// `shared_head` is what every object's answers carry unless the origin said otherwise.
    #[must_use]
    pub fn new(id: u64, key: &KeyRef<'_>, description: Description, life: Life, shared_head: &HeaderMap) -> Self {
        let headers = description.header_map();
        Self {
            id,
            site: Site { https: key.https, host: key.host.into() }.shared(),
            target: Target::new(key.target),
            combinable: version::strong(&headers).is_some(),
            head: ArcSwap::from_pointee(Head::new(description.status(), headers, life, shared_head)),
            size: AtomicU64::new(description.size.unwrap_or(UNKNOWN)),
            on_disk: Chunks::new(description.size.map(|size| size.div_ceil(CHUNK))),
            disk_bytes: AtomicU64::new(0),
            fills: Mutex::default(),
            rare: Rare::of(description.selectors, description.filled_by),
            readers: AtomicU32::new(0),
            ignores_ranges: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            logged: AtomicBool::new(false),
        }
    }

    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef { https: self.site.https, host: &self.site.host, target: self.target.as_str() }
    }

    /// What its name, its head and what tells its variants apart take of memory, about; of what it shares, its share.
    #[must_use]
    pub fn name_bytes(&self) -> u64 {
        let text = |(name, value): &(String, Option<String>)| name.len() + value.as_ref().map_or(0, String::len);
        let selectors = self.selectors().iter().map(text).sum::<usize>();
        (self.target.as_str().len() + self.head().bytes() + selectors) as u64
    }

    /// What a request must have to get it, beside the key.
    #[must_use]
    pub fn selectors(&self) -> &Selectors {
        const NONE: &Selectors = &Vec::new();
        self.rare.as_ref().map_or(NONE, |rare| &rare.selectors)
    }

    /// The edge that gave its head; none where the origin did.
    #[must_use]
    pub fn filled_by(&self) -> Option<&EdgeId> {
        self.rare.as_ref()?.filled_by.as_ref()
    }

    #[must_use]
    pub fn head(&self) -> Guard<Arc<Head>> {
        self.head.load()
    }

    /// The origin has said that this version still holds, perhaps with newer fields.
    pub fn refresh(&self, head: Head) {
        self.head.store(Arc::new(head));
    }

    /// The same, unless another head has come in the place of this one.
    pub fn refresh_from(&self, before: &Arc<Head>, head: Head) {
        self.head.compare_and_swap(before, Arc::new(head));
    }

    #[must_use]
    pub fn description(&self) -> Description {
        let head = self.head();
        let told = Description::new(head.status, self.size(), &head.headers(), self.selectors().clone());
        told.filled_by(self.filled_by().cloned())
    }

    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.rare.is_none() || vary::matches(self.selectors(), request)
    }

    /// None until the end of an answer that came without its length.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        Some(self.size.load(Relaxed)).filter(|&size| size != UNKNOWN)
    }

    pub fn set_size(&self, size: u64) {
        self.size.store(size, Relaxed);
    }

    /// Chunks that there are, or, as long as that is unknown, that there could be.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        let chunks = self.size().map_or(chunks::MOST, |size| size.div_ceil(CHUNK));
        u32::try_from(chunks).expect("the configuration bounds the size")
    }

    /// Bytes of a chunk: only the last one is shorter.
    #[must_use]
    pub fn chunk_len(&self, chunk: u32) -> u64 {
        self.size().map_or(CHUNK, |size| size.saturating_sub(u64::from(chunk) * CHUNK).min(CHUNK))
    }

    #[must_use]
    pub fn ignores_ranges(&self) -> bool {
        self.ignores_ranges.load(Relaxed)
    }

    pub fn found_to_ignore_ranges(&self) {
        self.ignores_ranges.store(true, Relaxed);
    }

    /// Ended, and nobody reads it any more: nothing of it is kept.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.has_ended() && self.readers.load(SeqCst) == 0
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// For the writer: whether the index log has it.
    pub(crate) fn is_logged(&self) -> bool {
        self.logged.load(Relaxed)
    }

    /// True where that is new.
    pub(crate) fn set_logged(&self, logged: bool) -> bool {
        self.logged.swap(logged, Relaxed) != logged
    }

    /// True for the one caller that is to have the disk remove it.
    pub fn end(&self) -> bool {
        !self.ended.swap(true, SeqCst)
    }

    #[must_use]
    pub fn is_read(&self) -> bool {
        self.readers.load(SeqCst) > 0
    }

    pub(crate) fn begin_reading(&self) {
        self.readers.fetch_add(1, SeqCst);
    }

    /// True where it is to be removed once more: with its last reader nobody needs it. The end may come at this very
    /// moment and find the same, and to remove it twice does no harm.
    pub(crate) fn end_reading(&self) -> bool {
        self.readers.fetch_sub(1, SeqCst) == 1 && self.has_ended()
    }

    /// The checksum of a chunk that is on disk.
    #[must_use]
    pub fn on_disk(&self, chunk: u32) -> Option<u32> {
        self.on_disk.get(chunk)
    }

    pub fn set_on_disk(&self, chunk: u32, crc: u32) {
        if self.on_disk.set(chunk, crc) {
            self.disk_bytes.fetch_add(self.chunk_len(chunk), Relaxed);
        }
    }

    pub fn forget_on_disk(&self, chunk: u32) {
        if self.on_disk.clear(chunk) {
            self.disk_bytes.fetch_sub(self.chunk_len(chunk), Relaxed);
        }
    }

    /// Chunks of which the disk could know.
    pub fn known_chunks(&self) -> impl Iterator<Item = u32> {
        0..self.chunks().min(self.on_disk.slots())
    }

    /// Chunks of which memory could have bytes. Of an answer that broke off before its length was known
    /// there may be a few more; they leave memory by their age.
    pub fn reached_chunks(&self) -> impl Iterator<Item = u32> {
        0..self.size().map_or(self.on_disk.slots() + 1, |_| self.chunks())
    }

    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Relaxed)
    }

    /// Whether a fill that runs brings all of a chunk. To be asked before the cache: a fill that has ended brings nothing
    /// any more, but has put all into the cache, and told the size, before that.
    pub(crate) fn is_brought(&self, chunk: u32) -> bool {
        self.running_fills().iter().any(|fill| fill.brings(chunk))
    }

    pub(crate) fn running_fills(&self) -> std::sync::MutexGuard<'_, Fills> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rare {
    fn of(selectors: Selectors, filled_by: Option<EdgeId>) -> Option<Box<Self>> {
        let is_needed = !selectors.is_empty() || filled_by.is_some();
        is_needed.then(|| Box::new(Self { selectors, filled_by }))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn an_object_is_small_and_tells_what_it_was_made_of() {
        assert!(size_of::<Object>() <= 176, "{}", size_of::<Object>());
        let key = KeyRef::parse("https://x/a?b");
        let selectors = vec![("accept".to_owned(), Some("b".to_owned()))];
        let by = EdgeId::new("fra-1").ok();
        let told = Description::new(StatusCode::OK, Some(7), &HeaderMap::new(), selectors).filled_by(by);
        let object = Object::new(1, &key, told.clone(), Life::of_age(0), &HeaderMap::new());
        assert_eq!((object.key(), object.description()), (key, told));
    }
}
