//! The listener: who asks, what is asked, and what is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use service::address::AddressRule;
use service::{Health, Problem, Running, Shutdown, Starting};
use uuid::Uuid;
use wire::topic::Topic;

use crate::body;
use crate::direct::Direct;
use crate::formats::cmcd::plays::Plays;
use crate::formats::json_only;
use crate::geo::Geo;
use crate::idempotency::Answers;
use crate::intake::Intake;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::players::Asked;
use crate::publish::Publisher;
use crate::road::Road;
use crate::stats::{self, Stats};
use crate::tallies::Teller;
use crate::{Config, OPENAPI, cors, deliveries, listenbrainz, metrics};

pub(crate) struct Ingest {
    /// Configured name and a part that is new at every start, so that a count from 1 is never mistaken for another's.
    pub(crate) id: String,
    pub(crate) keys: Arc<Keys>,
    pub(crate) addresses: AddressRule,
    pub(crate) geo: Arc<Geo>,
    pub(crate) intake: Intake,
    pub(crate) answers: Answers,
    pub(crate) plays: Plays,
    pub(crate) road: Arc<Road>,
    ledger: Arc<Ledger>,
    pub(crate) listens: Publisher,
    deliveries: Publisher,
}

/// Starts the role. Kafka may be away: until it answers, health says so and the spool keeps what is posted.
///
/// # Errors
/// When the address cannot be had, another process has the spool, or the configuration contradicts itself.
#[must_use]
pub fn start(config: Config, shutdown: Shutdown) -> Starting {
    Box::pin(begin(config, shutdown))
}

async fn begin(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    config.check()?;
    let health = Health::new("ingest");
    let listener = service::http::bind(config.ingest.listen).await?;
    let addr = listener.local_addr()?;
    let pool = service::postgres::pool(&config.postgres)?;
    let (keys, mut tasks) = Keys::start(&config.keys, &config.auth, pool, &health, &shutdown).await?;
    let geo = Geo::start(&config.geo, &health, &shutdown).await;
    let state = Arc::new(Ingest::new(&config, keys.clone(), geo, &health, &shutdown)?);
    let stats = Stats::new(&config, keys, &state.id, &health, &shutdown);
    let routes = routes(state.clone()).merge(stats::routes(stats));
    let app = service::limits::complete(routes, OPENAPI, &health, &config.http);
    health.ready();
    tracing::info!(%addr, "ingest listens");
    let serving =
        service::http::serve_behind(Direct(state.clone()), listener, app, config.http, health, shutdown.clone());
    let teller = state.teller();
    tokio::spawn(teller.clone().tell_for_ever(shutdown.clone()));
    let main = tokio::spawn(async move {
        serving.await;
        state.stop(&teller).await;
        while tasks.join_next().await.is_some() {}
        Ok(())
    });
    Ok(Running::new(addr, shutdown, main))
}

/// Where players post events.
pub(crate) const EVENTS: &str = "/v1/events";

fn routes(state: Arc<Ingest>) -> Router {
    let cors = cors::layer(state.keys.clone());
    Router::new()
        // The layer answers every OPTIONS itself; the route only lets it see them.
        .route(EVENTS, post(post_events).options(|| async {}))
        .route("/v1/cmcd", post(post_cmcd).options(|| async {}))
        .layer(cors)
        .route("/v1/deliveries", post(post_deliveries))
        .merge(listenbrainz::routes())
        .with_state(state)
}

async fn post_events(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    ingest.post_events(peer.ip(), uri, headers, body).await
}

async fn post_cmcd(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = ingest.keys.write(&uri, &headers)?;
    let asked = Asked { key: key.clone(), uri, headers, peer: peer.ip() };
    let answer = ingest.take_cmcd(asked, body).await;
    Ok(key.stamp(answer.into_response()))
}

async fn post_deliveries(
    State(ingest): State<Arc<Ingest>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    ingest.keys.operator(&headers)?;
    json_only(&headers)?;
    ingest.road.check()?;
    let held = ingest.intake.read(&headers, body).await?;
    metrics::DELIVERIES.bytes.increment(held.received as u64);
    let elements = body::deliveries(&held.body)?;
    let records = elements.into_iter().map(deliveries::delivery);
    Ok(ingest.deliveries.send(records).answer().await)
}

impl Ingest {
    /// # Errors
    /// 401, 403 or 503 before the key is known; what is wrong after that is an answer that tells what the key may still post.
    pub(crate) async fn post_events<B>(
        &self,
        peer: IpAddr,
        uri: Uri,
        headers: HeaderMap,
        body: B,
    ) -> Result<Response, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let key = self.keys.write(&uri, &headers)?;
        let asked = Asked { key: key.clone(), uri, headers, peer };
        let answer = self.take_events(asked, body).await;
        Ok(key.stamp(answer.into_response()))
    }

    fn new(
        config: &Config,
        keys: Arc<Keys>,
        geo: Arc<Geo>,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let road = Road::start(&config.kafka, &config.ingest, health.clone(), shutdown)?;
        let ledger = Arc::new(Ledger::default());
        let publisher = |topic, ledger, counters| Publisher { road: road.clone(), topic, ledger, counters };
        Ok(Self {
            id: format!("{}-{}", config.ingest.id, &Uuid::now_v7().simple().to_string()[20..]),
            keys,
            addresses: AddressRule::new(config.ingest.trusted_proxies.clone()),
            geo,
            intake: Intake::new(&config.http, &config.ingest),
            answers: Answers::default(),
            plays: Plays::new(),
            listens: publisher(Topic::Listens, Some(ledger.clone()), &metrics::EVENTS),
            deliveries: publisher(Topic::Deliveries, None, &metrics::DELIVERIES),
            road,
            ledger,
        })
    }

    fn teller(&self) -> Arc<Teller> {
        let (ingest_id, road, ledger) = (self.id.clone(), self.road.clone(), self.ledger.clone());
        Arc::new(Teller { ingest_id, road, ledger })
    }

    /// After the last answer: Kafka gets a moment for what it has, the spool the rest.
    async fn stop(&self, teller: &Teller) {
        self.road.stop_replaying().await;
        self.road.settle().await;
        teller.end().await;
        self.road.spool.close().await;
    }
}
