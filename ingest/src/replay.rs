//! The spool's way to Kafka: windows of records, in order, each acknowledged whole before the next.
//!
//! Records of one key go to one partition in the order in which they were kept. New events do not wait for
//! them: those of a session that was under way when Kafka came back may be in Kafka before its spooled ones,
//! for as long as the spool takes to drain. Readers order by time and by `seq`; nothing of ours orders by offset.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service::Shutdown;
use service::backoff::Backoff;
use service::journal::Chunk;
use service::journal::record::Record;
use tokio::sync::Notify;

use crate::metrics;
use crate::producer::{self, Receipt};
use crate::road::Road;
use crate::spool::Spool;

/// Records on their way at a time. So many may be sent again after a kill, and so much of the
/// producer's queue is not there for new events.
const WINDOW_BYTES: usize = 1 << 20;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// One record of a window on its way.
pub(crate) struct Sent {
    window: Arc<Window>,
    place: usize,
}

/// What is still open of a window.
#[derive(Default)]
struct Window {
    open: Mutex<Open>,
    done: Notify,
}

#[derive(Default)]
struct Open {
    /// On their way; one more while records are still being handed over.
    left: usize,
    failed: Vec<usize>,
}

impl Sent {
    pub(crate) fn acknowledged(self) {
        self.window.settle(None);
    }

    pub(crate) fn failed(self) {
        self.window.settle(Some(self.place));
    }
}

impl Window {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, failed: Option<usize>) {
        let mut open = self.open();
        open.failed.extend(failed);
        open.left -= 1;
        if open.left == 0 {
            self.done.notify_one();
        }
    }
}

/// Drains the spool, again and again, until the shutdown. A window that is on its way then is waited for.
pub(crate) async fn run(road: Arc<Road>, shutdown: Shutdown) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    while !shutdown.is_cancelled() {
        match step(&road, &shutdown).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                if backoff.attempts() == 0 {
                    tracing::error!(%error, "the spool cannot be read; it is tried again");
                }
                shutdown.run_until_cancelled(backoff.wait()).await;
            }
        }
    }
}

async fn step(road: &Arc<Road>, shutdown: &Shutdown) -> std::io::Result<()> {
    match read(road.spool.clone()).await? {
        Some(chunk) => drain(road, chunk, shutdown).await,
        None => {
            shutdown.run_until_cancelled(road.spool.readable()).await;
            Ok(())
        }
    }
}

async fn read(spool: Spool) -> std::io::Result<Option<Chunk>> {
    blocking(move || spool.journal().map_or(Ok(None), |journal| journal.read(WINDOW_BYTES))).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// Sets aside what is no record, sends what is one, and moves on once Kafka has all of it.
async fn drain(road: &Arc<Road>, chunk: Chunk, shutdown: &Shutdown) -> std::io::Result<()> {
    let (spool, chunk) = (road.spool.clone(), Arc::new(chunk));
    let (setting_aside, damaged) = (spool.clone(), chunk.clone());
    blocking(move || set_aside(&setting_aside, &damaged)).await?;
    if !send(road, &chunk.records, shutdown).await {
        return Ok(());
    }
    metrics::REPLAYED.increment(chunk.records.len() as u64);
    blocking(move || spool.advance(&chunk)).await
}

fn set_aside(spool: &Spool, chunk: &Chunk) -> std::io::Result<()> {
    let Some(journal) = spool.journal() else { return Ok(()) };
    for (offset, bytes) in &chunk.damage {
        journal.folder().set_aside(chunk.to.segment, *offset, bytes)?;
        metrics::DAMAGED.increment(1);
        let (segment, bytes) = (chunk.to.segment, bytes.len());
        tracing::error!(segment, offset, bytes, "bytes of the spool are no record; they lie in its folder damaged/");
    }
    Ok(())
}

/// Returns once Kafka has acknowledged every one of them, or with false at the shutdown. Those that fail are
/// sent again, and only those.
async fn send(road: &Road, records: &[Record], shutdown: &Shutdown) -> bool {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut places: Vec<usize> = (0..records.len()).collect();
    while !places.is_empty() {
        if shutdown.run_until_cancelled(road.watch.answers()).await.is_none() {
            return false;
        }
        places = attempt(road, records, &places).await;
        if places.is_empty() {
            road.watch.acknowledged();
        } else {
            shutdown.run_until_cancelled(backoff.wait()).await;
        }
    }
    true
}

/// Returns the places of those that Kafka did not acknowledge, in order.
async fn attempt(road: &Road, records: &[Record], places: &[usize]) -> Vec<usize> {
    let window = Arc::new(Window::default());
    window.open().left = places.len() + 1;
    let producer = road.producer();
    for (sent, place) in places.iter().enumerate() {
        let Record { topic, key, payload } = &records[*place];
        let name = road.topics.name(*topic);
        let receipt = Receipt::Replayed(Sent { window: window.clone(), place: *place });
        if let Err((error, _)) = producer::send(&producer, name, key, payload, receipt) {
            if !producer::is_haste(&error) {
                road.watch.failed(&error);
            }
            // The rest stays behind it: handing over a later one first would turn their order round.
            let mut open = window.open();
            open.failed.extend(&places[sent..]);
            open.left -= places.len() - sent;
            break;
        }
    }
    window.settle(None);
    window.done.notified().await;
    let mut failed = std::mem::take(&mut window.open().failed);
    failed.sort_unstable();
    failed
}
