//! The digest of what is held, made anew every few seconds, behind everybody's back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::Shutdown;
use tokio::sync::watch;
use wire::held::{HeldDigest, folder};

use crate::cache::Cache;
use crate::object::Object;

/// Of memory, so many first chunks of an object are looked for: what is held of others is on disk by then.
const FIRST_CHUNKS: u32 = 4;

/// A look at a million objects takes a while: it may take a hundredth of the time.
const REST: u32 = 100;

/// Makes digests until `ended`; a version is told only where it is another than the one before.
pub async fn run(cache: Arc<Cache>, every: Duration, newest: watch::Sender<Option<Arc<HeldDigest>>>, ended: Shutdown) {
    let mut version = 1;
    let mut pause = Duration::ZERO;
    while ended.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let (cache, since) = (cache.clone(), Instant::now());
        let made = tokio::task::spawn_blocking(move || digest(&cache, version)).await;
        pause = every.max(since.elapsed() * REST);
        // A panic is in the log by now; the next look may be luckier.
        let Ok(digest) = made else { continue };
        let is_new = newest.borrow().as_ref().is_none_or(|before| before.bits != digest.bits);
        if is_new {
            newest.send_replace(Some(Arc::new(digest)));
            version += 1;
        }
    }
}

fn digest(cache: &Cache, version: u64) -> HeldDigest {
    let mut folders = HashSet::new();
    let mut tell = |object: &Object| {
        let path = object.key().target.split('?').next().unwrap_or_default();
        let folder = folder(path.strip_prefix('/').unwrap_or(path));
        if is_held(cache, object) && !folders.contains(folder) {
            folders.insert(folder.to_owned());
        }
    };
    for held in cache.index.iter() {
        held.each(&mut tell);
    }
    HeldDigest::of(version, folders.iter().map(String::as_str))
}

fn is_held(cache: &Cache, object: &Object) -> bool {
    object.disk_bytes() > 0
        || object.reached_chunks().take(FIRST_CHUNKS as usize).any(|chunk| cache.memory.has(object.id, chunk))
}
