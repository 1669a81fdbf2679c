//! The one thread that changes the disk: stores chunks, logs, removes what is gone, keeps the log short.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use service::Health;
use service::health::Status;

use super::Cache;
use super::disk::{Folder, Job};
use super::index::Index;
use super::index_log::{IndexLog, Record};
use crate::metrics::Metrics;
use crate::object::{CHUNK, Object};

/// What has ended and is still being read may take this share of the disk's budget, beyond it: its readers have what is
/// beyond that from the origin. Where its parts cannot be had from there again, it may take as much as the budget.
pub const LINGER_SHARE: u64 = 4;

/// A log below this is never rewritten while we run.
const SHORT_LOG: u64 = 64 << 20;

#[derive(Debug)]
pub struct Writer {
    pub folder: Folder,
    /// Given free with the thread: nothing writes to the folder after it.
    pub _lock: File,
    pub log: IndexLog,
    pub cache: Arc<Cache>,
    pub health: Health,
    pub metrics: Arc<Metrics>,
    /// Versions that have ended and have a file still, for their readers, each with its bytes there.
    pub lingering: HashMap<u64, u64>,
    pub lingering_bytes: u64,
    pub most_lingering: u64,
    /// Length of the log after its last rewriting.
    pub rewritten_bytes: u64,
}

impl Writer {
    /// Works until [`Job::Stop`] or until nobody can send any more.
    #[allow(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
    pub fn run(mut self, jobs: Receiver<Job>) {
        self.health.set("disk", Status::Ok);
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Store { object, chunk, bytes } => self.store(&object, chunk, &bytes),
                Job::Refreshed { object, fields } => self.refreshed(&object, fields),
                Job::Sized(object) => self.sized(&object),
                Job::Remove(object) => self.remove(&object),
                Job::Settle(done) => {
                    self.tell(self.log.sync());
                    // Nobody waits any more where the role is stopping.
                    let _ = done.send(());
                }
                Job::Stop => break,
            }
            self.shorten_log();
        }
        self.tell(self.log.sync());
    }

    fn store(&mut self, object: &Arc<Object>, chunk: u32, bytes: &Bytes) {
        if !object.is_gone() && object.on_disk(chunk).is_none() {
            let stored = self.try_store(object, chunk, bytes);
            if stored.is_err() {
                self.metrics.not_stored_error.increment(1);
            }
            self.tell(stored);
        }
        self.cache.disk.settled(object, chunk, bytes.len());
    }

    fn try_store(&mut self, object: &Arc<Object>, chunk: u32, bytes: &[u8]) -> io::Result<()> {
        // The log, and with it the next start, must not know of what only its last readers get.
        let has_ended = object.has_ended();
        if has_ended {
            if !self.linger(object, bytes.len() as u64) {
                self.metrics.not_stored_ended.increment(1);
                return Ok(());
            }
        } else if !object.is_logged() {
            self.log.append(&object_record(object))?;
            object.set_logged(true);
        }
        write_chunk(&self.folder.file(object.id), chunk, bytes)?;
        let crc = crc32c::crc32c(bytes);
        if !has_ended {
            self.log.append(&Record::Chunk { id: object.id, chunk, crc })?;
        }
        object.set_on_disk(chunk, crc);
        self.cache.index.weigh_again(object);
        Ok(())
    }

    fn refreshed(&mut self, object: &Object, fields: bool) {
        let (id, life) = (object.id, object.head().life());
        self.log_known(
            object,
            &match fields {
                true => Record::Head { id, description: object.description(), life },
                false => Record::Life { id, life },
            },
        );
    }

    fn sized(&mut self, object: &Object) {
        if let Some(size) = object.size() {
            self.log_known(object, &Record::Size { id: object.id, size });
        }
    }

    /// Logs what is new of a version that the log has.
    fn log_known(&mut self, object: &Object, record: &Record) {
        if object.is_logged() {
            let appended = self.log.append(record);
            self.tell(appended);
        }
    }

    /// Told once when a version ends, and again when its last reader is done.
    fn remove(&mut self, object: &Object) {
        let was_logged = object.set_logged(false);
        let logged = if was_logged { self.log.append(&Record::Gone { id: object.id }) } else { Ok(()) };
        if !object.is_gone() && logged.is_ok() && (!was_logged || self.linger(object, object.disk_bytes())) {
            return;
        }
        if object.is_gone() {
            object.reached_chunks().for_each(|chunk| self.cache.memory.remove(object.id, chunk));
        } else {
            // Its readers are not to look there any more.
            object.known_chunks().for_each(|chunk| object.forget_on_disk(chunk));
        }
        let lingered = self.lingering.remove(&object.id);
        self.lingering_bytes -= lingered.unwrap_or(0);
        self.tell_lingering();
        if lingered.is_none() && !was_logged {
            return;
        }
        // Without its file an object does not come back, even where the log could not be written.
        let unlinked = std::fs::remove_file(self.folder.file(object.id));
        let unlinked = unlinked.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) });
        self.tell(logged.and(unlinked));
    }

    /// Whether so many bytes more of a version that has ended may be on disk.
    fn linger(&mut self, object: &Object, bytes: u64) -> bool {
        let share = if object.combinable { 1 } else { LINGER_SHARE };
        if self.lingering_bytes + bytes > self.most_lingering * share {
            return false;
        }
        *self.lingering.entry(object.id).or_default() += bytes;
        self.lingering_bytes += bytes;
        self.tell_lingering();
        true
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    fn tell_lingering(&self) {
        self.metrics.disk_ended.set(self.lingering_bytes as f64);
    }

    fn tell(&self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.health.set("disk", Status::Ok),
            Err(error) => {
                self.health.set("disk", Status::Degraded(format!("chunks pass through without being stored: {error}")));
            }
        }
    }

    fn shorten_log(&mut self) {
        if self.log.bytes() < SHORT_LOG.max(4 * self.rewritten_bytes) {
            return;
        }
        match rewrite_log(&self.folder, &self.cache.index) {
            Ok(log) => {
                self.rewritten_bytes = log.bytes();
                self.log = log;
                // One at rest that was not logged has nothing on disk: it is logged with its first chunk.
                for awake in self.cache.index.iter().filter_map(|held| held.awake()) {
                    for object in awake.as_slice() {
                        object.set_logged(true);
                    }
                }
            }
            Err(error) => self.tell(Err(error)),
        }
    }
}

/// Writes the log anew with what the index holds.
///
/// # Errors
/// When it cannot be written.
pub fn rewrite_log(folder: &Folder, index: &Index) -> io::Result<IndexLog> {
    IndexLog::rewrite(&folder.log(), index.iter().flat_map(|held| held.each(records)).flatten())
}

fn records(object: &Object) -> Vec<Record> {
    let chunks = object
        .known_chunks()
        .filter_map(|chunk| Some(Record::Chunk { id: object.id, chunk, crc: object.on_disk(chunk)? }));
    std::iter::once(object_record(object)).chain(chunks).collect()
}

fn object_record(object: &Object) -> Record {
    let key = object.key().into();
    Record::Object { id: object.id, key, description: object.description(), life: object.head().life() }
}

fn write_chunk(path: &Path, chunk: u32, bytes: &[u8]) -> io::Result<()> {
    open(path)?.write_all_at(bytes, u64::from(chunk) * CHUNK)
}

fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            open()
        }
        opened => opened,
    }
}
