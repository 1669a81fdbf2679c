//! The cache as the last run left it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::Context;
use http::HeaderMap;
use service::Health;
use tokio::runtime::Handle;

use super::disk::{Disk, Folder, Job};
use super::index_log::{Logged, replay};
use super::memory::Memory;
use super::writer::{Writer, rewrite_log};
use super::{Cache, index};
use crate::config::EdgeConfig;
use crate::metrics::Metrics;
use crate::object::Object;
use crate::purge::records::Records;
use crate::purge::{self, Purges};

/// Opens the cache and starts its writer; the thread ends with [`Disk::stop`].
///
/// # Errors
/// When the folder cannot be used, or another process uses it.
pub fn open(
    edge: &EdgeConfig,
    background: Handle,
    health: Health,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Arc<Cache>, std::thread::JoinHandle<()>)> {
    let (folder, lock) = Folder::lock(&edge.cache_dir)?;
    let shown = edge.cache_dir.display();
    let found =
        replay(&folder.log(), edge.max_object.as_u64()).with_context(|| format!("cannot read the log in {shown}"))?;
    if found.torn > 0 {
        tracing::warn!(bytes = found.torn, "the end of the cache's log was torn; what it told is fetched again");
    }
    let (purged, newest) =
        purge::log::read(&folder.purge_log()).with_context(|| format!("cannot read the log of purges in {shown}"))?;
    // Should the log be lost, later purges must still be newer than all that is held.
    let newest = found.objects.values().map(|logged| logged.life.asked).fold(newest, u64::max);
    let (jobs, queue) = channel();
    let evicted = jobs.clone();
    // An error says that the writer has ended; the next start finds the object and evicts it again.
    let index = index(edge.cache_disk.as_u64(), move |object| drop(evicted.send(Job::Remove(object))));
    let kept: HashSet<u64> = found
        .objects
        .into_iter()
        // What was not at its end when the last run ended cannot be told from what was.
        .filter(|(id, logged)| logged.description.size.is_some() && folder.file(*id).exists())
        .filter_map(|(id, logged)| {
            let object = restored(id, logged, &purged)?;
            drop(super::put(&index, &object));
            Some(id)
        })
        .collect();
    index.run_pending_tasks();
    remove_strangers(&folder.objects(), &kept);
    let log = rewrite_log(&folder, &index).with_context(|| format!("cannot write the log in {shown}"))?;
    tracing::info!(objects = index.entry_count(), "the disk's objects are known again");
    let disk = Arc::new(Disk::new(folder.clone(), jobs, background, metrics.clone()));
    // The index log that was just written knows what became of all that was purged.
    let purges = Purges::new(&folder.purge_log(), newest).with_context(|| format!("cannot write in {shown}"))?;
    let memory = Memory::new(edge.cache_memory.as_u64());
    let cache = Arc::new(Cache::new(index, memory, disk, Arc::new(purges), found.next_id));
    let rewritten_bytes = log.bytes();
    let writer =
        Writer { folder, _lock: lock, log, cache: cache.clone(), health, metrics, logged: kept, rewritten_bytes };
    let thread = std::thread::Builder::new().name("edge-disk".into()).spawn(move || writer.run(queue));
    Ok((cache, thread.context("cannot start the disk's thread")?))
}

/// None where it was purged.
fn restored(id: u64, logged: Logged, purged: &Records) -> Option<Arc<Object>> {
    let Logged { key, description, mut life, chunks } = logged;
    let found = purged.find(&key.to_string(), purge::tags(&description.header_map()));
    if found.hard > life.asked {
        return None;
    }
    if found.soft > life.asked {
        life = life.purged(found.soft_at);
    }
    let object = Object::new(id, Arc::new(key), description, life, &HeaderMap::new());
    for (chunk, crc) in chunks {
        object.set_on_disk(chunk, crc);
    }
    Some(Arc::new(object))
}

/// Files that the log does not know: of versions whose record was torn, or removed in a crash.
fn remove_strangers(objects: &Path, kept: &HashSet<u64>) {
    let folders = std::fs::read_dir(objects).into_iter().flatten().flatten();
    for file in folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten()) {
        let id = file.file_name().to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
        if id.is_none_or(|id| !kept.contains(&id)) {
            // One that cannot be removed only takes room until the next start.
            let _ = std::fs::remove_file(file.path());
        }
    }
}
