//! What is held: an index of objects, chunks in memory, chunks on disk.
//!
//! A chunk is looked for in memory, among those about to be written, and on disk, in this order. The
//! [`index`] bounds the disk, [`memory`] bounds itself; of both, [`fifo`] says what goes. What the index has is
//! mostly at [`rest`].

pub mod disk;
pub mod fifo;
pub mod framed_log;
pub mod held;
pub mod index;
pub mod index_log;
pub mod memory;
pub mod pages;
mod places;
pub mod rest;
pub mod restore;
pub mod room;
mod slabs;
pub mod variants;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::key::KeyRef;
use crate::object::{CHUNK, Object};
use crate::purge::Purges;
use bytes::Bytes;
use disk::Disk;
use index::Index;
use memory::{Memory, Part};
use variants::Variants;

#[derive(Debug)]
pub struct Cache {
    pub index: Index,
    pub memory: Memory,
    pub disk: Arc<Disk>,
    pub purges: Arc<Purges>,
    next_id: AtomicU64,
}

impl Cache {
    #[must_use]
    pub fn new(index: Index, memory: Memory, disk: Arc<Disk>, purges: Arc<Purges>, next_id: u64) -> Self {
        Self { index, memory, disk, purges, next_id: AtomicU64::new(next_id) }
    }

    /// Bytes of the index' budget that are used.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.index.disk_bytes()
    }

    /// A name that no version on this disk has had.
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// What is held under a key.
    #[must_use]
    pub fn get(&self, key: &KeyRef<'_>) -> Option<Variants> {
        self.index.get(key)
    }

    /// Makes this version the one that its key names; the one before it is ended.
    pub fn publish(&self, object: &Arc<Object>) {
        self.index.put(object).into_iter().for_each(|before| self.disk.remove(before));
    }

    /// Drops this version, unless another took its place. True where it was held.
    pub fn drop_version(&self, object: &Arc<Object>) -> bool {
        let held = self.index.take_out(object);
        if held && object.end() {
            self.disk.remove(object.clone());
        }
        held
    }

    /// Stores bytes of a chunk: in memory at once, and, once the chunk is whole, on disk soon, where there
    /// is room for it in the queue.
    pub fn keep(&self, object: &Arc<Object>, chunk: u32, start: u64, bytes: Bytes) {
        let len = object.chunk_len(chunk);
        let part = Part { start: u32::try_from(start).expect("within a chunk"), bytes };
        let whole = part.is_whole(len);
        let held = self.memory.put(object.id, chunk, part, whole);
        if held.is_whole(len) && !object.is_gone() {
            self.disk.store(object.clone(), chunk, held.bytes);
        }
    }

    /// Whether a whole chunk can be had without the origin.
    #[must_use]
    pub fn holds(&self, object: &Object, chunk: u32) -> bool {
        self.holds_part(object, chunk, 0, object.chunk_len(chunk))
    }

    /// Whether these bytes of a chunk can be had without the origin.
    #[must_use]
    pub fn holds_part(&self, object: &Object, chunk: u32, from: u64, to: u64) -> bool {
        let covers = |part: &Part| u64::from(part.start) <= from && part.end() >= to;
        // In the order in which chunks go from one to the next.
        self.memory.get(object.id, chunk).is_some_and(|part| covers(&part))
            || self.disk.about_to_write(object.id, chunk).is_some()
            || object.on_disk(chunk).is_some()
    }

    /// Whether these bytes of an object can be had without the origin.
    #[must_use]
    pub fn holds_range(&self, object: &Object, range: &std::ops::Range<u64>) -> bool {
        pieces(range).all(|(chunk, from, to)| self.holds_part(object, chunk, from, to))
    }

    /// What memory has of a chunk: no lock, no wait.
    #[must_use]
    pub fn in_memory(&self, object: &Object, chunk: u32) -> Option<Part> {
        self.memory.get(object.id, chunk)
    }

    /// A chunk from disk or on its way there; goes to memory with it.
    pub async fn from_disk(&self, object: &Arc<Object>, chunk: u32) -> Option<Bytes> {
        if let Some(bytes) = self.disk.about_to_write(object.id, chunk) {
            return Some(bytes);
        }
        let crc = object.on_disk(chunk)?;
        let _turn = self.disk.read_turn().await;
        // Whoever had the turn before may have read the same chunk.
        if let Some(part) = self.in_memory(object, chunk).filter(|part| part.is_whole(object.chunk_len(chunk))) {
            return Some(part.bytes);
        }
        let bytes = self.memory.room.take_in(self.disk.read(object, chunk, crc).await?);
        self.memory.put(object.id, chunk, Part { start: 0, bytes: bytes.clone() }, true);
        Some(bytes)
    }
}

/// A range as its chunks, each with the part of it that is meant.
pub fn pieces(range: &std::ops::Range<u64>) -> impl Iterator<Item = (u32, u64, u64)> {
    let (start, end) = (range.start, range.end);
    let chunks = if range.is_empty() { 0..0 } else { start / CHUNK..end.div_ceil(CHUNK) };
    chunks.map(move |chunk| {
        let (from, to) = (start.max(chunk * CHUNK) - chunk * CHUNK, end.min((chunk + 1) * CHUNK) - chunk * CHUNK);
        (u32::try_from(chunk).expect("within the object"), from, to)
    })
}
