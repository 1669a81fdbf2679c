//! Fleet and tracks at one moment. Decisions read one snapshot from start to end; refreshes put a new
//! one in its place.

mod disk;
mod refresh;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use wire::Timestamp;

use crate::fleet::Fleet;
use crate::tracks::Tracks;

pub(crate) use disk::Disk;
pub(crate) use refresh::Refresher;

#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Counts the changes of fleet and tracks, across restarts; 0 before anything was read.
    pub(crate) version: u64,
    /// When PostgreSQL last confirmed the fleet.
    pub(crate) confirmed_at: Timestamp,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) tracks: Tracks,
}

impl Snapshot {
    pub(crate) fn empty(tracks_max: usize) -> Self {
        Self { version: 0, confirmed_at: Timestamp::now(), fleet: Arc::default(), tracks: Tracks::new(tracks_max) }
    }
}

/// The current snapshot. Reading takes no lock; writers take turns.
#[derive(Debug)]
pub(crate) struct Snapshots {
    current: ArcSwap<Snapshot>,
    writing: Mutex<()>,
    versions: watch::Sender<u64>,
}

impl Snapshots {
    pub(crate) fn new(first: Snapshot) -> Self {
        let versions = watch::Sender::new(first.version);
        Self { current: ArcSwap::from_pointee(first), writing: Mutex::new(()), versions }
    }

    pub(crate) fn current(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Tells of each new version; those in between may be skipped.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Puts a changed copy in place. `change` says whether it changed anything that counts as a version.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot) -> bool) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.current.load());
        let changed = change(&mut next);
        next.version += u64::from(changed);
        let version = next.version;
        self.current.store(Arc::new(next));
        if changed {
            self.versions.send_replace(version);
        }
    }
}
