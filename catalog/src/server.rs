//! Builds the catalog, runs it, drains it.

use std::sync::Arc;

use anyhow::{Context, bail};
use service::auth::AdminToken;
use service::health::Health;
use service::{Running, Shutdown, Starting};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wire::topic::Topic;

use crate::config::Config;
use crate::edge_client::EdgeClient;
use crate::outbox::{Relay, Upkeep};
use crate::rollout::{Consumer, Deadlines, Ledger, Worker};
use crate::track_store::TrackStore;
use crate::tracks::{self, Api};
use crate::watch::Watch;

/// Starts the catalog; PostgreSQL and Kafka may be away, and come when they come.
///
/// # Errors
/// When the address cannot be had, or a client cannot be made from the configuration.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Starting {
    Box::pin(begin(config, shutdown))
}

async fn begin(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let health = Health::new("catalog");
    let listener = service::http::bind(config.catalog.listen).await?;
    let addr = listener.local_addr().context("cannot tell the bound address")?;
    let catalog = Catalog::new(config, health)?;
    let main = tokio::spawn(catalog.run(listener, shutdown.clone()));
    tracing::info!(%addr, "the catalog serves");
    Ok(Running::new(addr, shutdown, main))
}

struct Catalog {
    config: Config,
    health: Health,
    store: TrackStore,
    watch: Watch,
    relay: Relay,
    upkeep: Upkeep,
    consumer: Consumer,
    worker: Worker,
    deadlines: Deadlines,
}

impl Catalog {
    fn new(config: Config, health: Health) -> anyhow::Result<Self> {
        let pool = service::postgres::pool(&config.postgres)?;
        let producer = service::kafka::producer(&config.kafka)?;
        let topic = Topic::Content.name(&config.kafka.topic_prefix);
        let own = &config.catalog;
        let (outbox, rows) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let ledger = Ledger::new(pool.clone(), own.warm_timeout.0);
        let deadline = own.rollout_deadline.0;
        Ok(Self {
            store: TrackStore::new(pool.clone(), outbox.clone()),
            watch: Watch {
                pool: pool.clone(),
                producer: producer.clone(),
                topic: topic.clone(),
                health: health.clone(),
            },
            relay: Relay {
                pool: pool.clone(),
                producer: producer.clone(),
                topic,
                batch: own.outbox_batch,
                poll: own.outbox_poll.0,
                wake: outbox,
                health: health.clone(),
            },
            upkeep: Upkeep { pool: pool.clone(), keep: own.outbox_keep.0 },
            consumer: Consumer::new(&config.kafka, producer, pool, deadline, rows.clone())?,
            worker: Worker {
                ledger: ledger.clone(),
                edges: EdgeClient::new(own.warm_timeout.0, config.auth.admin_token.expose()),
                wake: rows,
                concurrency: own.warm_concurrency,
            },
            deadlines: Deadlines { ledger },
            config,
            health,
        })
    }

    async fn run(self, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let http = self.config.http;
        let drain_timeout = http.drain_timeout.0;
        let api = Api { store: self.store, max_body: http.max_body.as_u64() };
        let routes = tracks::routes(api, AdminToken::new(&self.config.auth));
        let routes = service::limits::complete(routes, crate::OPENAPI, &self.health, &http);
        self.watch.begin();
        self.health.ready();
        let mut tasks = JoinSet::new();
        tasks.spawn(self.watch.run(shutdown.clone()));
        tasks.spawn(self.relay.run(shutdown.clone()));
        tasks.spawn(self.upkeep.run(shutdown.clone()));
        tasks.spawn(self.consumer.run(shutdown.clone()));
        tasks.spawn(self.worker.run(shutdown.clone()));
        tasks.spawn(self.deadlines.run(shutdown.clone()));
        let serving = tokio::spawn(service::http::serve(listener, routes, http, self.health, shutdown.clone()));
        let ended = until_stopped(&mut tasks, &shutdown).await;
        drain(tasks, drain_timeout).await;
        serving.await.context("the HTTP server broke off")?;
        ended
    }
}

/// All tasks run until the shutdown; one that ends before it takes the role with it, to be started anew.
async fn until_stopped(tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let first = tasks.join_next().await;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    shutdown.cancel();
    match first {
        Some(Err(error)) => Err(error).context("a part of the catalog broke off"),
        _ => bail!("a part of the catalog ended by itself"),
    }
}

/// Lets the relay's last round and the orders' release finish, then ends what is left: all of it is
/// taken up again from PostgreSQL.
async fn drain(mut tasks: JoinSet<()>, deadline: std::time::Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline, all).await.is_err() {
        tracing::warn!("the drain's deadline has passed; the rest is taken up at the next start");
        tasks.shutdown().await;
    }
}
