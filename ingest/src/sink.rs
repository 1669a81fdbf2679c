//! Kafka to ClickHouse, each message exactly once.
//!
//! The path of one batch: [`mover`], one thread, polls messages and gives each to its [`partition`], whose
//! [`batch`] keeps it as a row ([`rows`]) or, where it is none, as a [`dead_letter`]. A batch that is due
//! is announced: its offsets, the [`intent`], go into the metadata of Kafka's commit. Only then an
//! [`insert`] task takes it to ClickHouse, under a token that names these offsets. Then the offset after
//! it is committed, and the intent with it is gone.
//!
//! Why that is exactly once: whoever gets the partition next, after a crash at any point, reads the
//! intent first, gathers exactly those offsets again and inserts them under the same token, which
//! ClickHouse drops if it has it. Kafka fences commits of a sink that lost its partitions, and all
//! commits are made by the thread that learns of the loss, so none comes late.
//!
//! Promised: nothing is skipped. A message that cannot be read goes to the dead-letter topic and table;
//! a batch that ClickHouse refuses is tried for ever while its partition waits and health says why.
//! Memory is bounded by `max_buffered`. A batch is visible about `batch_wait` after its first message.
//! Not promised: that a message which a client produced twice is stored once; a topic that is deleted
//! and made anew under the same name reuses offsets, and so tokens, of the last 10,000 batches.

mod batch;
mod config;
mod consumer;
mod dead_letter;
mod insert;
mod intent;
mod metrics;
mod mover;
mod owned;
mod partition;
mod received;
mod rowbinary;
mod rows;
mod trouble;

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
pub use rows::{Incoming, Table};

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
