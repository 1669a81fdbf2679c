//! Chunks in memory, within a budget of bytes. What is asked for often stays through a scan (TinyLFU).

use bytes::Bytes;

/// What moka spends on an entry beside its value, roughly; without it a million tiny objects would
/// take twice their budget.
const ENTRY_BYTES: usize = 200;

#[derive(Debug)]
pub struct Memory {
    chunks: moka::sync::Cache<(u64, u32), Bytes>,
}

impl Memory {
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let weigh = |_: &(u64, u32), bytes: &Bytes| u32::try_from(bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        Self { chunks: moka::sync::Cache::builder().max_capacity(budget).weigher(weigh).build() }
    }

    #[must_use]
    pub fn get(&self, object: u64, chunk: u32) -> Option<Bytes> {
        self.chunks.get(&(object, chunk))
    }

    #[must_use]
    pub fn has(&self, object: u64, chunk: u32) -> bool {
        self.chunks.contains_key(&(object, chunk))
    }

    pub fn put(&self, object: u64, chunk: u32, bytes: Bytes) {
        self.chunks.insert((object, chunk), bytes);
    }

    pub fn remove(&self, object: u64, chunk: u32) {
        self.chunks.invalidate(&(object, chunk));
    }

    /// Bytes held, entries included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.run_pending_tasks();
        self.chunks.weighted_size()
    }
}
