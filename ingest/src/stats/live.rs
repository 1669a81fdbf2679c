//! Who listens now: `GET /v1/stats/live` and `GET /v1/stats/now`.
//!
//! While somebody looks, and for a while after (`live_linger`, so that a page that asks now and then finds
//! the windows complete), one thread ([`follow`]) reads the listens topic from a minute ago on, on all
//! partitions and beside the sinks' group, so that each ingest process sees all of it. It reads of every
//! event only what it needs ([`heard`]), keeps sliding windows ([`window`]) and publishes a [`picture`] of
//! them each second. A WebSocket ([`socket`]) or an event stream ([`event_stream`]) sends each subscriber its
//! part of the newest picture; one that is too slow misses those in between, and nothing is ever queued for
//! it. When nobody has looked for that while, the thread ends and its memory is free: ingest then pays
//! nothing for it.
//!
//! Promised: an event shows within 2 s of its acceptance; memory is bounded whatever is played, and beyond
//! the bound figures are estimates that say so (`sampled`). Without Kafka the last figures stay, and say so.

mod event_stream;
mod follow;
mod heard;
mod names;
mod now;
mod picture;
mod sample;
mod socket;
mod subscribe;
mod window;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::Shutdown;
use service::config::KafkaConfig;
use tokio::sync::{Semaphore, watch};
use wire::live::LiveState;

pub(crate) use now::now;
pub(crate) use picture::Filter;
pub(crate) use subscribe::subscribe;

use super::{StatsConfig, metrics};
use picture::Picture;

/// How long one who comes first waits for the windows to be complete.
const PATIENCE: Duration = Duration::from_secs(4);

/// The windows of this process, and who looks at them.
#[derive(Debug)]
pub(crate) struct Live {
    kafka: KafkaConfig,
    ingest_id: String,
    linger: Duration,
    shutdown: Shutdown,
    /// One for each subscriber that may be connected.
    places: Arc<Semaphore>,
    looking: Mutex<Looking>,
    pictures: watch::Sender<Arc<Picture>>,
}

#[derive(Debug)]
struct Looking {
    now: usize,
    last: Instant,
    followed: bool,
}

/// Somebody who looks; the windows are kept up for it.
#[derive(Debug)]
struct Look {
    live: Arc<Live>,
    pictures: watch::Receiver<Arc<Picture>>,
}

impl Live {
    pub(crate) fn new(kafka: KafkaConfig, ingest_id: String, config: &StatsConfig, shutdown: Shutdown) -> Arc<Self> {
        let pictures = watch::Sender::new(nothing());
        let looking = Mutex::new(Looking { now: 0, last: Instant::now(), followed: false });
        let places = Arc::new(Semaphore::new(config.live_subscribers));
        let linger = config.live_linger.0;
        Arc::new(Self { kafka, ingest_id, linger, shutdown, places, looking, pictures })
    }

    /// Begins to look; starts the thread where none runs.
    fn look(self: &Arc<Self>) -> Look {
        let mut looking = self.looking();
        looking.now += 1;
        looking.last = Instant::now();
        if !looking.followed {
            looking.followed = follow::start(self.clone());
            metrics::FOLLOWING.set(if looking.followed { 1.0 } else { 0.0 });
        }
        Look { live: self.clone(), pictures: self.pictures.subscribe() }
    }

    /// Whether nobody needs the thread any more; then it is no longer counted on and must end.
    fn abandoned(&self) -> bool {
        let mut looking = self.looking();
        let wanted = looking.now > 0 || looking.last.elapsed() < self.linger;
        looking.followed = wanted && !self.shutdown.is_cancelled();
        if !looking.followed {
            // Under the lock, so that none of it undoes what the next thread has begun.
            self.pictures.send_replace(nothing());
            metrics::FOLLOWING.set(0.0);
            metrics::SESSIONS.set(0.0);
        }
        !looking.followed
    }

    fn looking(&self) -> std::sync::MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// The newest picture once it is complete; whatever there is when that takes long.
    async fn picture(&mut self) -> Arc<Picture> {
        let complete = self.pictures.wait_for(|picture| picture.state() != LiveState::CatchingUp);
        // The sender lives in `live`: only the time can run out.
        let _ = tokio::time::timeout(PATIENCE, complete).await;
        self.pictures.borrow_and_update().clone()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut looking = self.live.looking();
        looking.now -= 1;
        looking.last = Instant::now();
    }
}

fn nothing() -> Arc<Picture> {
    Arc::new(Picture::nothing())
}
