//! What Kafka does not take now: kept on disk, synced before the answer, and sent when Kafka is back.
//!
//! One thread appends ([`writer`]): it gathers for [`writer::GATHER`] what arrives together, writes it to a
//! segment of its [`Journal`] and syncs it, and only then are its clients answered. [`crate::replay`] reads in
//! order, hands to the producer, and moves the position once Kafka has acknowledged. Segments that are
//! done are removed.
//!
//! Promised: a record whose sync was reported is sent to Kafka, by this process or the next one on this
//! folder, whenever either is killed. Bytes in the middle that are no record are set aside under `damaged/`
//! and said; what follows them is sent. The
//! spool is bounded ([`budget`]): a full one, or a disk that does not take it, refuses new elements before
//! they have a number, and health tells. Two processes cannot have one folder.
//! Not promised: that a record is sent once. A kill between Kafka's acknowledgement and the position's write
//! sends up to one window ([`crate::replay`]) again, and the sink filters it by its id.

mod budget;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use service::journal::{Chunk, Journal, OpenError};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::batch::Parcel;
use crate::metrics;
use budget::Budget;
pub(crate) use budget::PRODUCER_BYTES;
use writer::{Order, Writer};

/// One process's spool; clones are the same.
#[derive(Clone)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
    orders: Sender<Order>,
}

struct Shared {
    dir: PathBuf,
    /// None until the folder could be had.
    journal: OnceLock<Journal>,
    budget: Budget,
    /// The last attempt to write failed: nothing new is taken until one succeeds.
    failing: AtomicBool,
    why: Mutex<String>,
    /// There may be something to read.
    readable: Notify,
}

/// Records that are synced together, and who is told.
pub(crate) struct Job {
    pub(crate) records: Vec<u8>,
    pub(crate) parcels: Vec<Parcel>,
}

/// How the spool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Empty,
    /// Kafka does not have all of it yet.
    Waiting,
    Full,
    Failing(String),
}

impl Spool {
    /// Takes the folder. One that cannot be written is tried again and again, and until then the spool is failing.
    ///
    /// # Errors
    /// When another process has the folder.
    pub(crate) fn start(dir: &Path, max: u64) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            journal: OnceLock::new(),
            budget: Budget::new(max),
            failing: AtomicBool::new(true),
            why: Mutex::default(),
            readable: Notify::new(),
        });
        match shared.open() {
            Err(error @ OpenError::InUse(_)) => return Err(error),
            Err(error) => shared.fail(&error),
            Ok(()) => {}
        }
        let (orders, receiver) = mpsc::channel();
        let writer = Writer::new(shared.clone(), receiver);
        let thread = std::thread::Builder::new().name("spool".into());
        let spawned = thread.spawn(move || writer.run());
        spawned.map_err(|error| OpenError::Unusable { dir: dir.to_owned(), error })?;
        Ok(Self { shared, orders })
    }

    /// Nil until there is a folder.
    pub(crate) fn id(&self) -> Uuid {
        self.journal().map_or(Uuid::nil(), Journal::id)
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.shared.journal.get()
    }

    /// Records that Kafka has not acknowledged.
    pub(crate) fn waiting(&self) -> u64 {
        self.journal().map_or(0, Journal::waiting)
    }

    pub(crate) fn has_damage(&self) -> bool {
        self.journal().is_some_and(|journal| journal.folder().has_damage())
    }

    pub(crate) fn standing(&self) -> Standing {
        if self.shared.failing.load(Ordering::Relaxed) {
            return Standing::Failing(self.shared.why.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        match self.waiting() {
            _ if self.shared.budget.is_full() => Standing::Full,
            0 => Standing::Empty,
            _ => Standing::Waiting,
        }
    }

    /// Room for records that are to be kept here; [`Spool::keep`] has to follow.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        !self.shared.failing.load(Ordering::Relaxed) && self.shared.budget.reserve(bytes)
    }

    /// Room for records that go to Kafka, should it not take them; [`Spool::answered`] has to follow.
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        self.shared.budget.lend(bytes)
    }

    pub(crate) fn answered(&self, bytes: u64) {
        self.shared.budget.answered(bytes);
    }

    /// Keeps records for which there is a reservation.
    pub(crate) fn keep(&self, job: Job, reserved: u64) {
        if let Err(mpsc::SendError(Order::Keep(job, reserved))) = self.orders.send(Order::Keep(job, reserved)) {
            self.shared.budget.written(reserved);
            job.parcels.into_iter().for_each(Parcel::lost);
        }
    }

    /// Keeps records that Kafka did not take; the room for them was lent.
    pub(crate) fn rescue(&self, job: Job) {
        let bytes = job.records.len() as u64;
        self.shared.budget.queue(bytes);
        metrics::RESCUED.increment(job.parcels.len() as u64);
        self.keep(job, bytes);
    }

    /// Waits until there may be something to read that was not there before.
    pub(crate) async fn readable(&self) {
        self.shared.readable.notified().await;
    }

    /// What [`crate::replay`] has read is acknowledged.
    pub(crate) fn advance(&self, chunk: &Chunk) -> std::io::Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        journal.advance(chunk.to, chunk.records.len() as u64)?;
        self.shared.count(journal);
        Ok(())
    }

    /// Returns when all that was given to it before is synced, or is lost.
    pub(crate) async fn settled(&self) {
        let (reached, waits) = oneshot::channel();
        // A writer that has ended has nothing left, and drops the sender.
        if self.orders.send(Order::Tell(reached)).is_ok() {
            let _ = waits.await;
        }
    }

    /// Ends the writer, once it has kept what it was given, and lets another process have the folder.
    pub(crate) async fn close(&self) {
        self.settled().await;
        let _ = self.orders.send(Order::Stop);
        if let Some(journal) = self.journal() {
            journal.folder().release();
        }
    }
}

impl Shared {
    fn open(&self) -> Result<(), OpenError> {
        let journal = Journal::open(&self.dir)?;
        let waiting = journal.waiting();
        if waiting > 0 {
            tracing::info!(records = waiting, bytes = journal.stored(), "the spool holds what an earlier process left");
        }
        self.count(&journal);
        // Only the start and the writer's thread call this, one after the other.
        if self.journal.set(journal).is_ok() {
            self.mend();
            self.readable.notify_one();
        }
        Ok(())
    }

    fn count(&self, journal: &Journal) {
        let stored = journal.stored();
        self.budget.store(stored);
        metrics::SPOOL_BYTES.set(stored as f64);
        metrics::SPOOL_RECORDS.set(journal.waiting() as f64);
    }

    fn fail(&self, error: &dyn std::fmt::Display) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the spool cannot be written");
        }
    }

    fn mend(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(dir = %self.dir.display(), "the spool can be written");
        }
    }
}
