//! What was heard, for products: `GET /v1/stats/…`.
//!
//! The path of one question: its [`params`] and its [`range`] are read, each refused by its name; who asks
//! is known by its token ([`access`]); the question's own file in [`questions`] holds its SQL; [`answers`]
//! gives the answer that is kept, or asks the [`store`] once for all who wait; [`answer`] says how old it is.
//! Who listens now is not ClickHouse's to tell: [`live`] reads Kafka.
//!
//! Promised: one query at a time for one question, a bounded number for all; memory for answers is bounded;
//! while ClickHouse is away or slow the last answer is given for up to `stale_for` and says so
//! (`"stale": true`, `Age` over `max-age`), and without one it is a 503. A user's statistics are for that
//! user and for operators.
//! Not promised: that an answer knows an event within seconds, which is what the live figures are for.

pub(crate) mod access;
mod answer;
mod answers;
mod config;
mod live;
pub(crate) mod metrics;
pub(crate) mod params;
mod questions;
mod range;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::Response;
use axum::routing::get;
use service::http::Place;
use service::{Health, Problem, Shutdown};
use tower_http::cors::{Any, CorsLayer};
use wire::event::MAX_TEXT;
use wire::{FieldError, Timestamp, TrackId};

use crate::keys::Keys;
use crate::privacy::Subject;
use access::Pass;
use answers::Answers;
use live::Live;
use params::Params;
use questions::{Question, Rising, Top, Track, User, Window};
use range::{Range, Step};
use store::Store;

pub use config::StatsConfig;

/// What ClickHouse keeps of a ranking, and of one of a single country.
const MOST_RANKED: u32 = 1_000;
const MOST_IN_A_COUNTRY: u32 = 200;

/// Plays on one page of a history.
const MOST_PLAYS: u32 = 200;

type Id = Result<Path<String>, PathRejection>;

/// What all questions share.
pub(crate) struct Stats {
    keys: Arc<Keys>,
    answers: Arc<Answers>,
    live: Arc<Live>,
}

impl Stats {
    pub(crate) fn new(
        config: &crate::Config,
        keys: Arc<Keys>,
        ingest_id: &str,
        health: &Health,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let stats = &config.stats;
        let store = Store::new(service::clickhouse::client(&config.clickhouse), stats.queries, stats.query_timeout.0);
        let answers = Answers::new(store, health.clone(), stats.cache.as_u64(), stats.stale_for.0);
        let live = Live::new(config.kafka.clone(), ingest_id.to_owned(), stats, shutdown.clone());
        Arc::new(Self { keys, answers, live })
    }

    async fn answer(&self, question: Question, headers: &HeaderMap) -> Result<Response, Problem> {
        let fresh_for = question.fresh_for();
        let answer = self.answers.get(question).await?;
        Ok(answer::respond(&answer, fresh_for, headers))
    }
}

pub(crate) fn routes(stats: Arc<Stats>) -> Router {
    // Any origin: what a page may read here, its token says.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET])
        .allow_headers([header::AUTHORIZATION, header::IF_NONE_MATCH])
        .expose_headers([header::ETAG, header::AGE, header::RETRY_AFTER, HeaderName::from_static("cache-status")])
        .max_age(Duration::from_secs(3600));
    // The layer answers every OPTIONS itself; the routes only let it see them.
    let options = || async {};
    Router::new()
        .route("/v1/stats/tracks/{id}", get(track).options(options))
        .route("/v1/stats/top", get(top).options(options))
        .route("/v1/stats/rising", get(rising).options(options))
        .route("/v1/stats/users/{id}", get(user).options(options))
        .route("/v1/stats/now", get(now).options(options))
        .route("/v1/stats/live", get(follow).options(options))
        .layer(cors)
        .with_state(stats)
}

async fn track(State(stats): State<Arc<Stats>>, id: Id, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    access::operator(&stats.keys, &headers)?;
    let params = Params::read(&uri, &["from", "to", "by"])?;
    let track = path(id, |id| TrackId::new(id).map_err(|error| error.to_string()))?;
    let range = Range::read(&params, Step::Hour, Timestamp::now())?;
    stats.answer(Question::Track(Track { track, range }), &headers).await
}

async fn top(State(stats): State<Arc<Stats>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    access::operator(&stats.keys, &headers)?;
    let params = Params::read(&uri, &["window", "country", "limit"])?;
    let country = params.parsed("country")?;
    let most = if country.is_some() { MOST_IN_A_COUNTRY } else { MOST_RANKED };
    let window = params.parsed("window")?.unwrap_or(Window::Day);
    let limit = params.count("limit", 50, most)?;
    stats.answer(Question::Top(Top { window, country, limit }), &headers).await
}

async fn rising(State(stats): State<Arc<Stats>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    access::operator(&stats.keys, &headers)?;
    let limit = Params::read(&uri, &["limit"])?.count("limit", 50, MOST_RANKED)?;
    stats.answer(Question::Rising(Rising { limit }), &headers).await
}

async fn user(State(stats): State<Arc<Stats>>, id: Id, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let reader = stats.keys.reader(&headers)?;
    let id = path(id, user_id)?;
    reader.may_read(&id)?;
    let params = Params::read(&uri, &["from", "to", "limit", "cursor"])?;
    let question = User {
        stored: stats.keys.pseudonyms()?.all(Subject::User, &id),
        id,
        range: Range::read(&params, Step::Day, Timestamp::now())?,
        after: params.parsed("cursor")?,
        limit: params.count("limit", 50, MOST_PLAYS)?,
    };
    stats.answer(Question::User(question), &headers).await
}

fn user_id(id: String) -> Result<String, String> {
    let legal = (1..=MAX_TEXT).contains(&id.len()) && !id.chars().any(char::is_control);
    legal.then_some(id).ok_or_else(|| format!("must be 1 to {MAX_TEXT} bytes with no control character"))
}

/// The `{id}` of a path.
fn path<T>(id: Id, read: impl FnOnce(String) -> Result<T, String>) -> Result<T, FieldError> {
    let Path(id) = id.map_err(|_| FieldError::new("id", "must be UTF-8 once percent-decoded"))?;
    read(id).map_err(|detail| FieldError::new("id", detail))
}

async fn now(State(stats): State<Arc<Stats>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    access::operator(&stats.keys, &headers)?;
    let params = Params::read(&uri, &["track", "pop"])?;
    let filter = live::Filter { track: params.parsed("track")?, pop: params.parsed("pop")? };
    live::now(&stats.live, &filter).await
}

async fn follow(
    State(stats): State<Arc<Stats>>,
    Extension(place): Extension<Place>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let pass = Pass::check(stats.keys.clone(), &access::with_token(&uri, &headers))?;
    let params = Params::read(&uri, &["track", "pop", "key"])?;
    let filter = live::Filter { track: params.parsed("track")?, pop: params.parsed("pop")? };
    live::subscribe(&stats.live, pass, filter, &headers, place, upgrade)
}
