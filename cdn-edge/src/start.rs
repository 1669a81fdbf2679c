//! Starting and stopping an edge.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use futures_util::future::join_all;
use service::auth::AdminToken;
use service::client::ApiClient;
use service::health::Status;
use service::url_keys::UrlKeys;
use service::{Health, Running, Shutdown, Starting};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::Timestamp;

use crate::admin::{self, drain::Drain};
use crate::cache::{self, Cache, restore};
use crate::config::Config;
use crate::delivery::keeper::{Keeper, Spool};
use crate::delivery::notes::Notes;
use crate::delivery::sender::Sender;
use crate::delivery::transcript::Deliveries;
use crate::delivery::{QUEUE, Record};
use crate::forward::Gateway;
use crate::library::{Library, Rules};
use crate::load::{self, Reporter};
use crate::metrics::Metrics;
use crate::origin::s3::Bucket;
use crate::origin::web::WebOrigin;
use crate::origin::{Origin, Record as OriginRecord, Upstream};
use crate::purge;
use crate::respond;
use crate::seal::Seal;
use crate::server::counters::Counters;
use crate::server::gate::Gate;
use crate::server::tls::{Acceptor, Certificate};
use crate::server::{self, Shared};
use crate::shield::Shield;
use crate::warm::jobs::Jobs;

/// How long ingest may take for a batch.
const INGEST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How long fills that nobody reads any more may take to end. What they have not brought by then is fetched again.
const LAST_CHUNKS: std::time::Duration = std::time::Duration::from_millis(500);

/// What ends in turn once the role is to stop.
struct Parts {
    health: Health,
    library: Arc<Library>,
    writer: std::thread::JoinHandle<()>,
    /// Resolve once a serving thread has drained.
    serving: Vec<oneshot::Receiver<()>>,
    deliveries: Option<JoinHandle<()>>,
    /// Ends what must outlive the drain: the operators' listener and the reports.
    ended: Shutdown,
    admin: Option<JoinHandle<()>>,
    drain_timeout: std::time::Duration,
    give_up: Shutdown,
    _stop_writer: StopWriter,
}

/// Ends the disk's thread, which gives the cache's folder free, however the role ends.
struct StopWriter(Arc<Cache>);

impl Drop for StopWriter {
    fn drop(&mut self) {
        self.0.disk.stop();
    }
}

/// Binds both listeners, opens the cache, and serves until `shutdown`.
///
/// # Errors
/// When an address, the cache's folder or a thread cannot be had.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Starting {
    Box::pin(begin(config, shutdown))
}

async fn begin(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let health = Health::new("edge");
    let metrics = Arc::new(Metrics::new(&config.edge.id));
    let listeners = server::bind(config.edge.listen, server::threads(&config.edge))?;
    let addr = listeners[0].local_addr()?;
    let admin_listener = match config.edge.admin_listen() {
        Some(addr) => Some(service::http::bind(addr).await?),
        None => None,
    };
    let admin_addr = admin_listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;

    let (cache, writer) = open_cache(&config, &health, &metrics).await?;
    let stop_writer = StopWriter(cache.clone());
    let (origin, rules) = origin(&config, &health, &metrics)?;
    let (ended, give_up) = (Shutdown::new(), Shutdown::new());
    let seal = Seal::new(&config.auth.admin_token).filter(|_| !config.edge.public);
    let shield = Shield::new(&config.edge, seal.clone(), metrics.clone())?;
    if let Some(shield) = &shield {
        shield.watch(&health, &ended);
    }
    let upstream = Upstream { origin, shield };
    let library = Arc::new(Library::new(cache.clone(), upstream, metrics.clone(), Handle::current(), rules));

    // A role that is dropped rather than stopped, with its runtime, still ends its threads.
    let stop = shutdown.child_token();
    let (deliveries, sending) = deliveries(&config, &health, &metrics, &give_up).await?;
    let counters: Vec<Arc<Counters>> = listeners.iter().map(|_| Arc::default()).collect();
    let tls = tls(&config, &health, &ended)?;
    let gate = gate(&config, &health, &ended)?;
    let shared = Arc::new(Shared::new(library.clone(), deliveries, &config.edge, config.http.clone(), tls, seal, gate));
    let admission = shared.admission.clone();
    let serving = listeners.into_iter().zip(&counters).enumerate().map(|(number, (listener, counters))| {
        server::serve(number, listener, shared.clone(), counters.clone(), stop.clone())
    });
    let serving = serving.collect::<anyhow::Result<Vec<_>>>()?;
    drop(shared);
    let drain = Drain::new(health.clone());
    let reporter = Reporter {
        edge: config.edge.clone(),
        connections_max: u32::try_from(config.http.max_connections).unwrap_or(u32::MAX),
        counters,
        admission,
        drain: drain.clone(),
        library: library.clone(),
        metrics: metrics.clone(),
    };
    report(&config, reporter, &health, &stop, &ended);
    tokio::spawn(purge::sweep::run(library.clone(), ended.clone()));
    tokio::spawn(cache::rest::run(cache.clone(), ended.clone()));
    let warmed = config.edge.cache_dir.join("warm");
    let jobs = Jobs::open(library.clone(), &warmed, config.edge.warm_concurrency, stop.clone())
        .with_context(|| format!("cannot use the warm orders in {}", warmed.display()))?;
    let kept = library.clone();
    let admin = admin_listener.map(|listener| {
        let token = AdminToken::new(&config.auth);
        let routes = admin::routes(library, jobs, drain, config.edge.warm_concurrency, token, &health, &config.http);
        tokio::spawn(service::http::serve(listener, routes, config.http.clone(), health.clone(), ended.clone()))
    });
    health.ready();
    tracing::info!(edge.id = %config.edge.id, %addr, admin = ?admin_addr, at = %Timestamp::now(), "serving");
    let drain_timeout = config.http.drain_timeout.0;
    let parts = Parts {
        health,
        library: kept,
        writer,
        serving,
        deliveries: sending,
        ended,
        admin,
        drain_timeout,
        give_up,
        _stop_writer: stop_writer,
    };
    let main = tokio::spawn(run(parts, stop));
    let running = Running::new(addr, shutdown, main);
    Ok(match admin_addr {
        Some(admin) => running.with_admin(admin),
        None => running,
    })
}

/// Where objects come from, and what is the same for all of them.
fn origin(config: &Config, health: &Health, metrics: &Arc<Metrics>) -> anyhow::Result<(Origin, Rules)> {
    let edge = &config.edge;
    let record = OriginRecord { health: health.clone(), metrics: metrics.clone() };
    // A plain proxy goes by its default name, like the one before it: their requests are no loop.
    let name = edge.id.to_string();
    let cdn_id = if edge.public { format!("{name}-{:08x}", rand::random::<u32>()) } else { name.clone() };
    let mut gateway = Gateway { name, cdn_id: cdn_id.clone(), host: None };
    let mut shared_head = respond::shared_head();
    let origin = if edge.origin.is_empty() {
        Origin::S3(Bucket::new(&config.s3, edge, &cdn_id, record)?)
    } else {
        let web = WebOrigin::new(&edge.origin, edge, &cdn_id, record)?;
        gateway.host = (!edge.preserve_host).then(|| web.host());
        shared_head = if edge.cors { respond::cors() } else { http::HeaderMap::new() };
        Origin::Web(web)
    };
    let rules = Rules {
        default_ttl: (!edge.public).then_some(edge.default_ttl.0),
        negative_ttl: edge.negative_ttl.0,
        max_object: edge.max_object.as_u64(),
        shared_head,
        gateway,
        cmsd: edge.cmsd,
        https: edge.tls_certificate.is_some(),
    };
    Ok((origin, rules))
}

/// The keys of signed URLs, which are looked after until `ended`.
fn gate(config: &Config, health: &Health, ended: &Shutdown) -> anyhow::Result<Option<Gate>> {
    let Some(path) = &config.edge.url_keys else { return Ok(None) };
    let keys = Arc::new(UrlKeys::load(path, None)?);
    tokio::spawn(keys.clone().watch(health.clone(), ended.clone()));
    Ok(Some(Gate::new(keys)))
}

/// The listeners' certificate, which is looked after until `ended`.
fn tls(config: &Config, health: &Health, ended: &Shutdown) -> anyhow::Result<Option<Acceptor>> {
    let (Some(chain), Some(key)) = (&config.edge.tls_certificate, &config.edge.tls_key) else { return Ok(None) };
    let certificate = Arc::new(Certificate::load(chain, key)?);
    tokio::spawn(certificate.clone().watch(health.clone(), ended.clone()));
    Ok(Some(Acceptor::new(certificate)?))
}

async fn open_cache(
    config: &Config,
    health: &Health,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<Cache>, std::thread::JoinHandle<()>)> {
    let (edge, health, metrics, background) = (config.edge.clone(), health.clone(), metrics.clone(), Handle::current());
    tokio::task::spawn_blocking(move || restore::open(&edge, background, health, metrics))
        .await
        .context("opening the cache panicked")?
}

/// The thread that keeps records, and the task that sends them.
async fn deliveries(
    config: &Config,
    health: &Health,
    metrics: &Arc<Metrics>,
    give_up: &Shutdown,
) -> anyhow::Result<(Deliveries, Option<JoinHandle<()>>)> {
    let edge = &config.edge;
    if edge.ingest.is_empty() {
        return Ok((Deliveries::new(None, None, metrics.clone()), None));
    }
    let (dir, max) = (edge.spool_dir(), edge.spool_max.as_u64());
    let open = move || anyhow::Ok((Spool::open(&dir, max)?, Notes::open(&dir)));
    let (spool, notes) = tokio::task::spawn_blocking(open).await.context("opening the spool panicked")??;
    let spool = Arc::new(spool);
    let (notes, left) = match notes {
        Ok((notes, left)) => (Some(notes), left),
        Err(error) => {
            tracing::warn!(%error, "answers under way cannot be noted: a kill of this process loses their records");
            (None, Vec::new())
        }
    };
    let (queue, records) = mpsc::channel::<Record>(QUEUE);
    let (direct, unkept) = mpsc::channel(1);
    let keeper = Keeper {
        edge: edge.id.clone(),
        pop: edge.pop.clone(),
        spool: spool.clone(),
        direct,
        health: health.clone(),
        metrics: metrics.clone(),
    };
    let thread = std::thread::Builder::new().name("deliveries".into());
    thread.spawn(move || keeper.run(left, records)).context("cannot start the thread that keeps delivery records")?;
    let sender = Sender {
        spool,
        direct: unkept,
        url: format!("{}/v1/deliveries", config.edge.ingest),
        client: ApiClient::new(INGEST_PATIENCE).with_bearer(config.auth.admin_token.expose()),
        health: health.clone(),
        metrics: metrics.clone(),
    };
    let sending = tokio::spawn(sender.run(give_up.clone()));
    Ok((Deliveries::new(Some(queue), notes, metrics.clone()), Some(sending)))
}

/// One reporter, and one sender a router.
fn report(config: &Config, reporter: Reporter, health: &Health, draining: &Shutdown, ended: &Shutdown) {
    let (reports, newest) = watch::channel(None);
    let (digests, digest) = watch::channel(None);
    let failing: Arc<[AtomicBool]> = config.edge.routers.iter().map(|_| AtomicBool::new(false)).collect();
    for (router, url) in config.edge.routers.iter().enumerate() {
        let client = ApiClient::new(load::PATIENCE).with_bearer(config.auth.admin_token.expose());
        let (metrics, failing) = (reporter.metrics.clone(), failing.clone());
        let outcome = load::Outcome { health: health.clone(), metrics, failing, router };
        tokio::spawn(load::send(format!("{url}/v1/fleet/reports"), client, newest.clone(), digest.clone(), outcome));
    }
    if !config.edge.routers.is_empty() {
        let every = config.edge.report_interval.0 * load::REPORTS_A_DIGEST;
        tokio::spawn(load::digest::run(reporter.library.cache.clone(), every, digests, ended.clone()));
    }
    tokio::spawn(reporter.run(reports, draining.clone(), ended.clone()));
}

/// Waits for the stop, then ends one part after another: listeners, records, reports, disk.
async fn run(parts: Parts, stop: Shutdown) -> anyhow::Result<()> {
    // Dropped with this task: threads do not outlive the runtime they were started from.
    let _stop = stop.clone().drop_guard();
    stop.cancelled().await;
    parts.health.draining();
    join_all(parts.serving).await;
    if let Some(mut sending) = parts.deliveries
        && tokio::time::timeout(parts.drain_timeout, &mut sending).await.is_err()
    {
        parts.give_up.cancel();
        sending.await.context("sending delivery records panicked")?;
    }
    parts.ended.cancel();
    if let Some(admin) = parts.admin {
        admin.await.context("the operators' listener panicked")?;
    }
    // Its readers have had all of it; the last chunk is on its way to the cache.
    let _ = tokio::time::timeout(LAST_CHUNKS, parts.library.fills_ended()).await;
    parts.library.cache.disk.stop();
    let writer = parts.writer;
    let ended =
        tokio::task::spawn_blocking(move || writer.join()).await.context("cannot wait for the disk's thread")?;
    ended.map_err(|_| anyhow::anyhow!("the disk's thread panicked"))?;
    parts.health.set("disk", Status::Down("stopped".into()));
    Ok(())
}
