//! Looking at everything that is held after a purge, so that its record can be forgotten.

use std::sync::Arc;
use std::time::Duration;

use service::Shutdown;

use crate::cache::held::Held;
use crate::key::KeyRef;
use crate::library::Library;

/// Purges within this time are looked at together.
const GATHER: Duration = Duration::from_millis(500);

/// How often it is seen whether the questions that a purge may concern have ended; the origin's timeouts
/// bound them.
const LOOK: Duration = Duration::from_millis(50);

/// Sweeps after purges until `ended`. What is not swept by then the next start does.
pub async fn run(library: Arc<Library>, ended: Shutdown) {
    let sweeping = async {
        loop {
            library.cache.purges.added.notified().await;
            tokio::time::sleep(GATHER).await;
            sweep(&library).await;
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = ended.cancelled() => {}
    }
}

async fn sweep(library: &Arc<Library>) {
    let purges = &library.cache.purges;
    let latest = purges.latest();
    while purges.asked_before(latest) {
        tokio::time::sleep(LOOK).await;
    }
    let held = library.clone();
    let swept = tokio::task::spawn_blocking(move || look_at_all(&held)).await;
    // Before the record goes, the disk must know what became of the objects.
    library.cache.disk.settled_so_far().await;
    let purges = purges.clone();
    let forgotten = tokio::task::spawn_blocking(move || purges.forget_through(latest)).await;
    if let (Err(error), _) | (_, Err(error)) = (&swept, &forgotten) {
        tracing::error!(%error, "what a purge left could not be looked at");
    }
    if let Ok(Err(error)) = forgotten {
        tracing::warn!(%error, "the log of purges could not be written anew; it grows until the next purge");
    }
}

fn look_at_all(library: &Library) {
    let purges = &library.cache.purges;
    let records = purges.records().clone();
    if records.names_keys_only() {
        for key in records.keys() {
            drop(library.held_under(&KeyRef::parse(key)));
        }
        return;
    }
    for held in library.cache.index.iter() {
        look_at(library, &held);
    }
}

/// What is not current any more is dropped by being asked about. Of what is at rest, only what is concerned is waked.
fn look_at(library: &Library, held: &Held) {
    if let Some(awake) = held.awake() {
        for object in awake.as_slice() {
            let _ = library.is_current(object);
        }
        return;
    }
    held.each(|object| {
        if library.is_concerned(object) {
            drop(library.held_under(&object.key()));
        }
    });
}
