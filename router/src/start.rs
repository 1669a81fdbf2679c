//! Putting the role together, and taking it down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use service::address::AddressRule;
use service::auth::AdminToken;
use service::url_keys::UrlKeys;
use service::{Health, Running, Shutdown, Starting, limits};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wire::topic::Topic;

use crate::config::{Config, RouterConfig};
use crate::decide::Decider;
use crate::explain::Archive;
use crate::http::media_url::Signer;
use crate::http::{App, Counts, routes};
use crate::listeners::Estimates;
use crate::log::{self, Sender};
use crate::probe::Prober;
use crate::recent::Recent;
use crate::snapshot::{Disk, Refresher, Snapshot, Snapshots};
use crate::tracks::Missing;
use crate::{OPENAPI, watch};

/// How long a start waits for the first reading of the tracks; it then serves while they are read.
const FIRST_TRACKS: Duration = Duration::from_secs(5);

/// Starts the router; it is serving when this returns, from PostgreSQL or from its last snapshot.
///
/// # Errors
/// When the address or the data folder cannot be had, or a client cannot be made.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Starting {
    Box::pin(begin(config, shutdown))
}

async fn begin(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let health = Health::new("router");
    let disk = Disk::open(&config.router.data_dir)?;
    let listener = service::http::bind(config.router.listen).await?;
    let addr = listener.local_addr().context("cannot tell the listener's address")?;
    let first = disk.load(config.router.tracks_max).unwrap_or_else(|| Snapshot::empty(config.router.tracks_max));
    let snapshots = Arc::new(Snapshots::new(first));
    let pool = service::postgres::pool(&config.postgres)?;
    let (app, sender) = build(&config, &snapshots, pool, &health)?;
    let (mut tasks, stop) = (JoinSet::new(), Shutdown::new());
    tasks.spawn(disk.keep(snapshots.clone(), health.clone(), stop.clone()));
    first_refresh(&config, &app, &mut tasks, &stop).await;
    let prober = Prober::new(config.router.probe_interval.0, config.router.probe_timeout.0);
    tasks.spawn(prober.run(snapshots, stop.clone()));
    tasks.spawn(watch::run(app.clone(), health.clone(), stop.clone()));
    tasks.spawn(sender.run(stop.clone(), config.http.drain_timeout.0));
    if let Some(signer) = &app.signer {
        tasks.spawn(signer.keys().clone().watch(health.clone(), stop.clone()));
    }
    let routes = routes(app, AdminToken::new(&config.auth));
    let routes = limits::complete(routes, OPENAPI, &health, &config.http);
    health.ready();
    let serving = service::http::serve(listener, routes, config.http, health, shutdown.clone());
    let main = tokio::spawn(run(serving, tasks, stop));
    Ok(Running::new(addr, shutdown, main))
}

fn build(
    config: &Config,
    snapshots: &Arc<Snapshots>,
    pool: PgPool,
    health: &Health,
) -> anyhow::Result<(Arc<App>, Sender)> {
    let router = &config.router;
    let refresher = Refresher::new(pool.clone(), snapshots.clone(), health.clone(), router.tracks_max);
    let producer = service::kafka::producer(&config.kafka)?;
    let topic = Topic::Decisions.name(&config.kafka.topic_prefix);
    let (log, sender) = log::open(producer, topic, router.log_queue, health.clone());
    let estimates = Arc::new(Estimates::new(router.networks_max));
    let app = App {
        snapshots: snapshots.clone(),
        refresher: Arc::new(refresher),
        missing: Missing::new(pool.clone()),
        pool,
        decider: Decider::new(router, estimates.clone()),
        estimates,
        recent: Recent::new(usize::try_from(router.recent_memory.as_u64()).unwrap_or(usize::MAX)),
        log,
        archive: Archive::new(service::clickhouse::client(&config.clickhouse)),
        addresses: AddressRule::new(router.trusted_proxies.clone()),
        report_max_age: router.report_max_age.0,
        counts: Counts::new(),
        signer: signer(router)?,
    };
    Ok((Arc::new(app), sender))
}

/// Reads fleet and tracks for the first time and leaves the loops running that do so from now on.
async fn first_refresh(config: &Config, app: &Arc<App>, tasks: &mut JoinSet<()>, stop: &Shutdown) {
    let every = config.router.refresh_interval.0;
    let (tried, wait) = oneshot::channel();
    tasks.spawn(app.refresher.clone().tracks_loop(every, tried, stop.clone()));
    app.refresher.fleet().await;
    tasks.spawn(app.refresher.clone().fleet_loop(every, stop.clone()));
    // Either way the loop goes on.
    let _ = tokio::time::timeout(FIRST_TRACKS, wait).await;
}

fn signer(router: &RouterConfig) -> anyhow::Result<Option<Signer>> {
    let Some(path) = &router.url_keys else { return Ok(None) };
    let keys = UrlKeys::load(path, Some(&router.url_key))?;
    Ok(Some(Signer::new(Arc::new(keys), &router.url_key, router.url_ttl.0)))
}

/// Serves until the listener has drained, then stops the rest: what was answered has been put into the
/// log by then.
async fn run(serving: impl Future<Output = ()>, mut tasks: JoinSet<()>, stop: Shutdown) -> anyhow::Result<()> {
    tokio::select! {
        () = serving => {}
        ended = tasks.join_next() => bail!("a background task ended by itself: {ended:?}"),
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a background task failed")?;
    }
    Ok(())
}
