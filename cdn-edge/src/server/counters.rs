//! What a serving thread counts: its own cache line, so that counting never waits for another core.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wire::delivery::CacheStatus;

#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    pub connections: AtomicU64,
    /// Answers under way on HTTP/2 connections; those of HTTP/1 are one a connection.
    pub streams: AtomicU64,
    pub requests: AtomicU64,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub body_bytes: AtomicU64,
}

/// All threads' counts at one time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub connections: u64,
    pub requests: u64,
    pub hits: u64,
    pub misses: u64,
    pub body_bytes: u64,
}

impl Counters {
    /// Counts an answer that is over.
    pub fn answered(&self, cache_status: CacheStatus) {
        match cache_status {
            CacheStatus::Hit | CacheStatus::HitDisk => self.hits.fetch_add(1, Relaxed),
            CacheStatus::Miss | CacheStatus::Collapsed => self.misses.fetch_add(1, Relaxed),
            CacheStatus::None => 0,
        };
    }
}

impl Totals {
    #[must_use]
    pub fn of<'a>(threads: impl IntoIterator<Item = &'a Counters>) -> Self {
        threads.into_iter().fold(Self::default(), |sum, thread| Self {
            connections: sum.connections + thread.connections.load(Relaxed),
            requests: sum.requests + thread.requests.load(Relaxed),
            hits: sum.hits + thread.hits.load(Relaxed),
            misses: sum.misses + thread.misses.load(Relaxed),
            body_bytes: sum.body_bytes + thread.body_bytes.load(Relaxed),
        })
    }
}
