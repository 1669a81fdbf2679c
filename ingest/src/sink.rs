//! Kafka to ClickHouse, each message exactly once.
//!
//! The path of one batch: [`mover`], one thread, polls messages and gives each to its [`partition`], whose
//! [`batch`] keeps it as a row ([`rows`]); or among the [`repeats`], where the [`window`] of the partition's last
//! ids knows it; or, where it cannot be read, as a [`dead_letter`]. A batch that is due is announced: its
//! offsets, the [`intent`], go into the metadata of Kafka's commit. Only then an [`insert`] task takes it to
//! ClickHouse, events as columns ([`native`]), under a token that names these offsets. Then the offset after it is
//! committed, and the intent with it is gone.
//!
//! Why that is exactly once: whoever gets the partition next, after a crash at any point, reads the
//! intent first, gathers exactly those offsets again and inserts them under the same token, which
//! ClickHouse drops if it has it. It sorts messages as they were sorted before: rows and repeats by what ClickHouse
//! has of the offsets before the range ([`recall`]), as far back as the intent says. Kafka fences commits of
//! a sink that lost its partitions, and an insert begins only under a [`lease`] that a commit has renewed, so
//! that a process which was stopped and goes on inserts nothing that nobody awaits any more. ClickHouse that is killed
//! may drop what it does not have: an insert that is not certain is looked for ([`arrival`]).
//!
//! A batch that ClickHouse refuses for its rows ([`verdict`]) is cut in two, each half announced in its turn, until
//! the row at fault stands alone. It is set aside once it is clear that the table takes others ([`fault`]);
//! its [`original`] goes to the dead letters.
//!
//! Calls to Kafka wait in the mover's thread; its [`pulse`] is watched beside it, and health says when it stops.
//!
//! Promised: nothing is skipped. Every offset that Kafka has handed out ends in one row of one table: the
//! topic's own, `repeats` or `dead_letter`. What ClickHouse does not take for reasons of its own is tried for ever
//! while its partition waits, the sink stays in its group, and health says why. A batch is visible about
//! `batch_wait` after its first message. Memory is bounded by `max_buffered`, 16 MiB that librdkafka
//! reads ahead, and `repeat_window`: 30 bytes for each offset of it and partition.
//!
//! Not promised: a message that a client sends again more than `repeat_window` messages of its partition later, or
//! after the number of partitions was changed, is stored twice; `plays` counts it once, sums over `events`
//! twice. A topic that is deleted and made anew under the same name reuses offsets, and so tokens, of the last
//! 10,000 batches of its table; and what is not certain may be taken for what the old one brought.

mod again;
mod arrival;
mod batch;
mod config;
mod consumer;
mod dead_letter;
mod fault;
mod insert;
mod intent;
mod lease;
mod letterbox;
mod metrics;
mod mover;
mod native;
mod neighbours;
mod original;
mod owned;
mod partition;
mod pulse;
mod recall;
mod received;
mod repeats;
mod rowbinary;
mod rows;
mod store;
mod trouble;
mod verdict;
mod window;

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use service::backoff::Backoff;
use service::{Health, Running, Shutdown, Starting};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use config::{Config, SinkConfig};
pub(crate) use consumer::group;
use mover::Mover;
pub(crate) use received::SENT_AGAIN;
pub use rows::{Incoming, Table};
pub use store::{INSERT_SETTINGS, INSERTS_AT_A_TIME};

/// The API of [`start`]'s listener.
pub const OPENAPI: &str = include_str!("../sink.openapi.json");

/// Beyond the drain itself: leaving the group takes a round trip or two.
const LEAVING: Duration = Duration::from_secs(5);

/// Two sinks that were given one id shut each other out for ever; this keeps them from doing it often.
const REJOIN_MOST: Duration = Duration::from_secs(3);

/// Starts the role. Kafka and ClickHouse may be away; health says so, and the work begins when they come.
///
/// # Errors
/// When the address cannot be had or librdkafka refuses the configuration.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Starting {
    Box::pin(begin(config, shutdown))
}

async fn begin(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let health = Health::new("sink");
    let listener = service::http::bind(config.sink.listen).await?;
    let addr = listener.local_addr()?;
    let mover = Mover::new(&config, health.clone(), shutdown.clone())?;
    let app = service::limits::complete(Router::new(), OPENAPI, &health, &config.http);
    health.ready();
    tracing::info!(%addr, "sink listens");
    let again = {
        let (config, health, shutdown) = (config.clone(), health.clone(), shutdown.clone());
        move || Mover::new(&config, health.clone(), shutdown.clone())
    };
    let moving = on_a_thread(mover, again, shutdown.clone())?;
    let patience = config.http.drain_timeout.0 + LEAVING;
    let serving = service::http::serve(listener, app, config.http, health, shutdown.clone());
    let main = tokio::spawn(supervise(moving, tokio::spawn(serving), shutdown.clone(), patience));
    Ok(Running::new(addr, shutdown, main))
}

/// A thread of its own, not one of the runtime's: a process that has to end does not wait for librdkafka.
fn on_a_thread(
    first: Mover,
    again: impl Fn() -> anyhow::Result<Mover> + Send + 'static,
    shutdown: Shutdown,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (ended, moving) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let _inserts_run_there = runtime.enter();
        // Nobody listens any more only when the runtime is gone, and with it whom to tell.
        let _ = ended.send(keep_moving(first, again, &shutdown));
    };
    std::thread::Builder::new().name("sink-mover".into()).spawn(run).context("cannot start the mover's thread")?;
    Ok(moving)
}

/// A broker that dies in the midst of a rebalance may shut a member out under its own id, which
/// librdkafka calls fatal. Joining anew is then as good as a restart: what was held and not committed is
/// read again, and what was announced is inserted under the same token.
fn keep_moving(first: Mover, again: impl Fn() -> anyhow::Result<Mover>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(500), REJOIN_MOST);
    let mut ended = first.run();
    while let Err(error) = &ended {
        if shutdown.is_cancelled() {
            break;
        }
        tracing::error!(error = format!("{error:#}"), "the sink cannot go on as it is; it joins its group anew");
        std::thread::sleep(backoff.next_delay());
        ended = again()?.run();
    }
    ended
}

/// Ends with the mover: a sink that answers but moves nothing is of no use.
async fn supervise(
    mut moving: oneshot::Receiver<anyhow::Result<()>>,
    serving: JoinHandle<()>,
    shutdown: Shutdown,
    patience: Duration,
) -> anyhow::Result<()> {
    // The mover is a thread: should this task be dropped with its runtime, the thread must end too.
    let _stop = shutdown.clone().drop_guard();
    let moved = tokio::select! {
        moved = &mut moving => moved,
        () = shutdown.cancelled() => {
            tokio::time::timeout(patience, moving).await.context("the sink did not leave Kafka in time")?
        }
    };
    shutdown.cancel();
    serving.await?;
    moved.context("the mover's thread panicked")?
}
