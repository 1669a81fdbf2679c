//! The disk tier: one sparse file an object version, chunks at their places in it.
//!
//! Writes go through one thread and a queue of at most [`QUEUE_BYTES`]; when it is full a chunk is not
//! stored, and counted. A chunk that waits there can be read. Reads verify the checksum; a chunk that
//! fails is forgotten, counted, and fetched again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::metrics::Metrics;
use crate::object::{CHUNK, Object};

/// Chunks that wait to be written.
pub const QUEUE_BYTES: usize = 64 << 20;

/// Reads at a time: more would only queue in the device, and each holds a chunk.
const READS: usize = 64;

/// What the writer thread does. Only chunks are many, and their bytes are bounded; an object is
/// removed once, so removals are bounded by the objects held.
#[derive(Debug)]
pub enum Job {
    Store {
        object: Arc<Object>,
        chunk: u32,
        bytes: Bytes,
    },
    /// The origin confirmed it; true where it sent newer fields.
    Refreshed {
        object: Arc<Object>,
        fields: bool,
    },
    /// Its end was reached, so its size is known now.
    Sized(Arc<Object>),
    Remove(Arc<Object>),
    /// Tells when all before it is on disk.
    Settle(oneshot::Sender<()>),
    Stop,
}

#[derive(Debug)]
pub struct Disk {
    folder: Folder,
    jobs: Sender<Job>,
    waiting: Mutex<HashMap<(u64, u32), Bytes>>,
    waiting_bytes: AtomicUsize,
    reads: Semaphore,
    background: Handle,
    metrics: Arc<Metrics>,
}

impl Disk {
    #[must_use]
    pub fn new(folder: Folder, jobs: Sender<Job>, background: Handle, metrics: Arc<Metrics>) -> Self {
        Self {
            folder,
            jobs,
            waiting: Mutex::default(),
            waiting_bytes: AtomicUsize::new(0),
            reads: Semaphore::new(READS),
            background,
            metrics,
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<(u64, u32), Bytes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn store(&self, object: Arc<Object>, chunk: u32, bytes: Bytes) {
        if self.waiting_bytes.fetch_add(bytes.len(), Relaxed) + bytes.len() > QUEUE_BYTES {
            self.waiting_bytes.fetch_sub(bytes.len(), Relaxed);
            self.metrics.not_stored_queue_full.increment(1);
            return;
        }
        self.waiting().insert((object.id, chunk), bytes.clone());
        // The writer ends after everything that could store: a failed send loses a copy, no more.
        let _ = self.jobs.send(Job::Store { object, chunk, bytes });
    }

    /// For the writer: the chunk has been written or given up.
    pub fn settled(&self, object: &Object, chunk: u32, bytes: usize) {
        self.waiting().remove(&(object.id, chunk));
        self.waiting_bytes.fetch_sub(bytes, Relaxed);
    }

    #[must_use]
    pub fn about_to_write(&self, object: u64, chunk: u32) -> Option<Bytes> {
        if self.waiting_bytes.load(Relaxed) == 0 {
            return None;
        }
        self.waiting().get(&(object, chunk)).cloned()
    }

    pub fn refreshed(&self, object: Arc<Object>, fields: bool) {
        let _ = self.jobs.send(Job::Refreshed { object, fields });
    }

    pub fn sized(&self, object: Arc<Object>) {
        let _ = self.jobs.send(Job::Sized(object));
    }

    /// Waits until the queue is half empty: for chunks that could not be had again.
    pub async fn room(&self) {
        while self.waiting_bytes.load(Relaxed) > QUEUE_BYTES / 2 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    pub fn remove(&self, object: Arc<Object>) {
        let _ = self.jobs.send(Job::Remove(object));
    }

    /// Returns once all that was told the disk before is on it.
    pub async fn settled_so_far(&self) {
        let (done, wait) = oneshot::channel();
        let _ = self.jobs.send(Job::Settle(done));
        // An error says that the writer has ended, and with it this process' use of the folder.
        let _ = wait.await;
    }

    pub fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
    }

    pub async fn read_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }

    /// Reads a chunk; none where the disk has lost or changed it.
    pub async fn read(&self, object: &Arc<Object>, chunk: u32, crc: u32) -> Option<Bytes> {
        let path = self.folder.file(object.id);
        let len = usize::try_from(object.chunk_len(chunk)).expect("a chunk fits in memory");
        let read = self.background.spawn_blocking(move || read_chunk(&path, chunk, len)).await;
        match read {
            Ok(Ok(bytes)) if crc32c::crc32c(&bytes) == crc => {
                self.metrics.disk_reads.increment(1);
                Some(bytes)
            }
            _ => {
                // One that is gone has lost its file, and one that has ended may have: that is no fault of the disk's.
                if !object.is_gone() && object.on_disk(chunk).is_some() {
                    self.metrics.disk_corrupt.increment(1);
                    tracing::warn!(object.key = %object.key(), chunk, "a chunk on disk is not what was stored; it is fetched again");
                }
                object.forget_on_disk(chunk);
                None
            }
        }
    }
}

fn read_chunk(path: &Path, chunk: u32, len: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    File::open(path)?.read_exact_at(&mut bytes, u64::from(chunk) * CHUNK)?;
    Ok(bytes.into())
}

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, and the lock that keeps other processes out for as long as it lives.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn lock(path: &Path) -> anyhow::Result<(Self, File)> {
        let shown = path.display();
        std::fs::create_dir_all(path.join("objects")).with_context(|| format!("cannot make the cache in {shown}"))?;
        let lock = File::create(path.join("lock")).with_context(|| format!("cannot make a lock in {shown}"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("the cache in {shown} is used by another process; give each edge a cache_dir of its own");
        }
        Ok((Self { path: path.to_owned() }, lock))
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("index.log")
    }

    #[must_use]
    pub fn purge_log(&self) -> PathBuf {
        self.path.join("purge.log")
    }

    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// 256 folders, so that none grows too large to list.
    #[must_use]
    pub fn file(&self, object: u64) -> PathBuf {
        self.objects().join(format!("{:02x}/{object:016x}", object & 0xff))
    }
}
