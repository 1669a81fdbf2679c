//! What is held: an index of objects, chunks in memory, chunks on disk.
//!
//! A chunk is looked for in memory, among those about to be written, and on disk, in this order. The
//! index bounds the disk: an object weighs what it has there, the least recently used goes first.

pub mod disk;
pub mod index_log;
pub mod memory;
pub mod restore;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;

use crate::object::Object;
use disk::Disk;
use memory::Memory;

/// The index counts in pages, for moka's weights have 32 bits and a file takes whole pages anyway.
const PAGE: u64 = 4096;

/// Objects by key.
pub type Index = moka::sync::Cache<String, Arc<Object>>;

#[derive(Debug)]
pub struct Cache {
    pub index: Index,
    pub memory: Memory,
    pub disk: Arc<Disk>,
    next_id: AtomicU64,
}

/// An index whose evicted objects are handed to `ended`, which must not block: eviction happens on
/// whichever thread touches the index.
pub fn index(disk_bytes: u64, ended: impl Fn(Arc<Object>) + Send + Sync + 'static) -> Index {
    moka::sync::Cache::builder()
        .max_capacity((disk_bytes / PAGE).max(1))
        .weigher(|_, object: &Arc<Object>| pages(object))
        .eviction_policy(EvictionPolicy::lru())
        .eviction_listener(move |_, object: Arc<Object>, cause| {
            // An object that is put again only to be weighed again is replaced by itself.
            if cause != RemovalCause::Replaced && object.end() {
                ended(object);
            }
        })
        .build()
}

fn pages(object: &Object) -> u32 {
    u32::try_from(1 + object.disk_bytes() / PAGE).unwrap_or(u32::MAX)
}

/// Weighs an object again after its bytes on disk changed, unless another took its place.
pub fn weigh_again(index: &Index, object: &Arc<Object>) {
    index.entry_by_ref(object.key.as_str()).and_compute_with(|entry| match entry {
        Some(entry) if entry.value().id == object.id => Op::Put(entry.into_value()),
        _ => Op::Nop,
    });
}

impl Cache {
    #[must_use]
    pub fn new(index: Index, memory: Memory, disk: Arc<Disk>, next_id: u64) -> Self {
        Self { index, memory, disk, next_id: AtomicU64::new(next_id) }
    }

    /// Bytes of the index' budget that are used.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.index.weighted_size() * PAGE
    }

    /// A name that no version on this disk has had.
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// Makes this version the one that its key names; the one before it is ended.
    pub fn publish(&self, object: &Arc<Object>) {
        let mut before = None;
        self.index.entry_by_ref(object.key.as_str()).and_compute_with(|entry| {
            before = entry.map(moka::Entry::into_value);
            Op::Put(object.clone())
        });
        if let Some(before) = before.filter(|before| before.end()) {
            self.disk.remove(before);
        }
    }

    /// Drops this version, unless another took its place. True where it was held.
    pub fn drop_version(&self, object: &Arc<Object>) -> bool {
        let mut held = false;
        self.index.entry_by_ref(object.key.as_str()).and_compute_with(|entry| {
            held = entry.is_some_and(|entry| entry.value().id == object.id);
            if held { Op::Remove } else { Op::Nop }
        });
        held
    }

    /// Stores a whole chunk: in memory at once, on disk soon, where there is room for it in the queue.
    pub fn keep(&self, object: &Arc<Object>, chunk: u32, bytes: &Bytes) {
        self.memory.put(object.id, chunk, bytes.clone());
        if object.storable && !object.is_gone() {
            self.disk.store(object.clone(), chunk, bytes.clone());
        }
    }

    /// Whether a chunk can be had without the origin.
    #[must_use]
    pub fn holds(&self, object: &Object, chunk: u32) -> bool {
        object.on_disk(chunk).is_some()
            || self.memory.has(object.id, chunk)
            || self.disk.about_to_write(object.id, chunk).is_some()
    }

    /// A chunk from memory: no lock, no wait.
    #[must_use]
    pub fn in_memory(&self, object: &Object, chunk: u32) -> Option<Bytes> {
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
        if let Some(bytes) = self.in_memory(object, chunk) {
            return Some(bytes);
        }
        let bytes = self.disk.read(object, chunk, crc).await?;
        self.memory.put(object.id, chunk, bytes.clone());
        Some(bytes)
    }
}
