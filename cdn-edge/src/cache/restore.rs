//! The cache as the last run left it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::Context;
use http::HeaderMap;
use service::Health;
use tokio::runtime::Handle;

use super::Cache;
use super::disk::{Disk, Folder, Job};
use super::framed_log::is_full;
use super::index::Index;
use super::index_log::{IndexLog, Logged, replay};
use super::memory::Memory;
use super::writer::{LINGER_SHARE, Writer, rewrite_log};
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
    let (disk_bytes, memory_bytes) = (edge.cache_disk.as_u64(), edge.cache_memory.as_u64());
    let index = Index::new(disk_bytes, memory_bytes, move |object| drop(evicted.send(Job::Remove(object))));
    let mut objects: Vec<_> = found.objects.into_iter().collect();
    // Later versions take the places of earlier ones, where the last run ended before it had noted that.
    objects.sort_unstable_by_key(|(id, _)| *id);
    let mut kept = HashSet::new();
    for (id, logged) in objects {
        // What was not at its end when the last run ended cannot be told from what was.
        if logged.description.size.is_none() || !folder.file(id).exists() {
            continue;
        }
        if let Some(object) = restored(id, logged, &purged) {
            kept.insert(id);
            for before in index.put(&object) {
                kept.remove(&before.id);
            }
            drop(object);
            index.put_to_rest();
        }
    }
    remove_strangers(&folder.objects(), &kept);
    let (log, left) = match rewrite_log(&folder, &index) {
        Ok(log) => (log, Records::default()),
        // The old one tells the same but for what purges did, and these are kept with it.
        Err(error) if is_full(&error) => {
            tracing::warn!(folder = %shown, %error, "the disk is full: the cache goes on with the log that it has");
            (IndexLog::go_on(&folder.log()).with_context(|| format!("cannot use the log in {shown}"))?, purged)
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write the log in {shown}")),
    };
    tracing::info!(objects = index.len(), "the disk's objects are known again");
    let disk = Arc::new(Disk::new(folder.clone(), jobs, background, metrics.clone()));
    // An index log that was just written knows what became of all that was purged.
    let purges = Purges::new(&folder.purge_log(), newest, left).with_context(|| format!("cannot write in {shown}"))?;
    let memory = Memory::new(memory_bytes);
    let cache = Arc::new(Cache::new(index, memory, disk, Arc::new(purges), found.next_id));
    let rewritten_bytes = log.bytes();
    let writer = Writer {
        folder,
        _lock: lock,
        log,
        cache: cache.clone(),
        health,
        metrics,
        lingering: HashMap::new(),
        lingering_bytes: 0,
        most_lingering: disk_bytes / LINGER_SHARE,
        rewritten_bytes,
    };
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
    let object = Object::new(id, &key.as_ref(), description, life, &HeaderMap::new());
    for (chunk, crc) in chunks {
        object.set_on_disk(chunk, crc);
    }
    object.set_logged(true);
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

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use http::{HeaderValue, StatusCode, header};
    use wire::EdgeId;

    use super::*;
    use crate::cache::index_log::Record;
    use crate::freshness::Life;
    use crate::key::KeyRef;
    use crate::object::Description;
    use crate::purge::log::PurgeLog;
    use crate::purge::records::{Entry, Target};

    /// A version of a key with one byte on disk.
    fn version(id: u64, key: &str, etag: &'static str) -> [Record; 2] {
        let headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static(etag))]);
        let description = Description::new(StatusCode::OK, Some(1), &headers, Vec::new());
        let key = key.to_owned().into();
        [Record::Object { id, key, description, life: Life::of_age(0) }, Record::Chunk { id, chunk: 0, crc: 1 }]
    }

    /// Killed before the end of the first versions was written, the edge would serve one of them by chance.
    #[tokio::test]
    async fn the_later_version_of_a_key_is_the_one_that_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let edge = EdgeConfig {
            cache_dir: dir.path().to_owned(),
            cache_memory: ByteSize::mib(1),
            cache_disk: ByteSize::mib(1),
            ..EdgeConfig::default()
        };
        let (folder, lock) = Folder::lock(dir.path()).unwrap();
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let ids = |first: u64| (first..).zip(keys);
        let old = ids(1).flat_map(|(id, key)| version(id, key, "\"old\""));
        let new = ids(101).flat_map(|(id, key)| version(id, key, "\"new\""));
        IndexLog::rewrite(&folder.log(), old.chain(new)).unwrap();
        for (id, _) in ids(1).chain(ids(101)) {
            std::fs::create_dir_all(folder.file(id).parent().unwrap()).unwrap();
            std::fs::write(folder.file(id), "x").unwrap();
        }
        drop(lock);
        let metrics = Arc::new(Metrics::new(&EdgeId::new("fra-1").unwrap()));
        let (cache, writer) = open(&edge, Handle::current(), Health::new("edge"), metrics).unwrap();
        for (old, (new, key)) in (1..).zip(ids(101)) {
            let held = cache.get(&KeyRef::object(key)).unwrap();
            assert_eq!(held.as_slice().iter().map(|object| object.id).collect::<Vec<_>>(), [new], "{key}");
            assert!(!folder.file(old).exists() && folder.file(new).exists(), "{key}");
        }
        cache.disk.stop();
        writer.join().unwrap();
    }

    /// It starts all the same, with what it had, twice; what was purged stays so.
    #[tokio::test]
    async fn a_full_disk_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let edge = EdgeConfig { cache_dir: dir.path().to_owned(), ..EdgeConfig::default() };
        let (folder, lock) = Folder::lock(dir.path()).unwrap();
        IndexLog::rewrite(&folder.log(), (1..=3).flat_map(|id| version(id, &format!("k{id}"), "\"a\""))).unwrap();
        let whole = std::fs::metadata(folder.log()).unwrap().len();
        let torn = std::fs::read(folder.log()).unwrap();
        std::fs::write(folder.log(), [&torn[..], b"torn"].concat()).unwrap();
        for id in 1..=3 {
            std::fs::create_dir_all(folder.file(id).parent().unwrap()).unwrap();
            std::fs::write(folder.file(id), "x").unwrap();
        }
        let mut purges = PurgeLog::rewrite(&folder.purge_log(), 6, &Records::default()).unwrap();
        let purged = |id: u64| vec![Target::Key(format!("k{id}").into())];
        purges.append(Entry::new(7, false, 0, purged(1))).unwrap();
        purges.append(Entry::new(8, true, 90, purged(2))).unwrap();
        drop((lock, purges));
        for _ in 0..2 {
            // Whatever is written beside the logs finds no room.
            for log in [folder.log(), folder.purge_log()] {
                std::os::unix::fs::symlink("/dev/full", log.with_extension("log.new")).unwrap();
            }
            let metrics = Arc::new(Metrics::new(&EdgeId::new("fra-1").unwrap()));
            let (cache, writer) = open(&edge, Handle::current(), Health::new("edge"), metrics).unwrap();
            let held = |key: &str| cache.get(&KeyRef::object(key));
            assert!(held("k1").is_none() && cache.purges.latest() == 8);
            let life = held("k2").unwrap().as_slice()[0].head().life();
            assert_eq!(life.purged_at, Some(90));
            assert_eq!(held("k3").unwrap().as_slice()[0].on_disk(0), Some(1));
            assert_eq!(std::fs::metadata(folder.log()).unwrap().len(), whole);
            cache.disk.stop();
            writer.join().unwrap();
        }
    }
}
