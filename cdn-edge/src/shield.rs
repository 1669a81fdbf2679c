//! Other edges, asked before the origin is: the peer of our own POP that brings an object, then the one of
//! the parent POP.
//!
//! All edges of a POP rank its edges the same way for an object ([`rank`]); who stands first brings it, and the
//! others ask that one. An edge asks only peers that stand before it, so that no two ever wait for each
//! other, whatever each believes of who is there. Where nobody does, it asks the parent POP in the same way,
//! and at last the origin. So a crowd on every edge of three POPs comes down to one request of the origin.
//!
//! An edge that does not answer is passed over at once, and is left out until it answers probes again
//! ([`member`]). Requests are signed ([`crate::seal`]): they are no listeners' deliveries, and need no
//! signed URL. Asked are edges for reads alone; what changes something goes to the origin itself.

pub mod member;
pub mod rank;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use service::{Health, Shutdown};
use tokio::sync::Semaphore;
use wire::{EdgeId, Timestamp};

use crate::config::EdgeConfig;
use crate::key::CacheKey;
use crate::loops;
use crate::metrics::Metrics;
use crate::origin::connector::Connector;
use crate::origin::upload::Upload;
use crate::origin::{Answer, Ask, OriginError};
use crate::seal::{EDGE, Seal};
use member::Member;

/// Edges that are tried before the origin is asked.
const TRIES: usize = 3;

/// What is not itself in the path of an object's key.
const KEY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

#[derive(Debug)]
pub struct Shield {
    me: EdgeId,
    peers: Vec<Arc<Member>>,
    parents: Vec<Arc<Member>>,
    pool: Client<Connector, Upload>,
    seal: Seal,
    permits: Arc<Semaphore>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Shield {
    /// None where no other edges are named.
    ///
    /// # Errors
    /// When one's URL names no server, or authorities cannot be read.
    pub fn new(edge: &EdgeConfig, seal: Option<Seal>, metrics: Arc<Metrics>) -> anyhow::Result<Option<Self>> {
        let others = |named: &BTreeMap<EdgeId, String>| -> anyhow::Result<Vec<_>> {
            let others = named.iter().filter(|(id, _)| **id != edge.id);
            others.map(|(id, url)| Member::new(id, url).map(Arc::new)).collect()
        };
        let (peers, parents) = (others(&edge.peers)?, others(&edge.parents)?);
        let Some(seal) = seal.filter(|_| !peers.is_empty() || !parents.is_empty()) else { return Ok(None) };
        let (connect, tls) = (edge.origin_connect_timeout.0, edge.origin_tls_timeout.0);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(edge.origin_concurrency)
            .set_host(false)
            .build(Connector::new(connect, tls, edge.origin_ca.as_deref())?);
        Ok(Some(Self {
            me: edge.id.clone(),
            peers,
            parents,
            pool,
            seal,
            permits: Arc::new(Semaphore::new(edge.origin_concurrency)),
            first_byte_timeout: edge.origin_first_byte_timeout.0,
            idle_timeout: edge.origin_idle_timeout.0,
            metrics,
        }))
    }

    /// Looks after who is there, until `ended`.
    pub fn watch(&self, health: &Health, ended: &Shutdown) {
        for member in self.peers.iter().chain(&self.parents) {
            let (seal, me) = (self.seal.clone(), self.me.clone());
            let sign = move |target: &str| seal.sign(&me, target, Timestamp::now());
            tokio::spawn(member.clone().watch(sign, health.clone(), ended.clone()));
        }
    }

    /// The answer of the first edge that has one. None where the origin is to be asked.
    pub async fn ask(&self, ask: &Ask) -> Option<Answer> {
        if ask.method != Method::GET || !ask.body.is_none() {
            return None;
        }
        for member in self.way(&ask.key).into_iter().filter(|member| !ask.lost.contains(&member.id)) {
            match self.ask_member(&member, ask).await {
                Ok(answer) => {
                    self.metrics.shield_answered.increment(1);
                    return Some(answer);
                }
                Err(error) => {
                    self.metrics.shield_failed.increment(1);
                    tracing::debug!(edge.id = %member.id, %error, "another edge did not bring an object");
                }
            }
        }
        None
    }

    /// Whether it is of the POP that we ask before the origin.
    #[must_use]
    pub fn is_parent(&self, edge: &str) -> bool {
        self.parents.iter().any(|parent| parent.id.as_str() == edge)
    }

    /// One of them has broken off in the midst of a body.
    pub fn broke_off(&self, edge: &EdgeId) {
        self.metrics.shield_failed.increment(1);
        tracing::debug!(edge.id = %edge, "another edge broke off");
    }

    /// Whom to ask, in turn.
    fn way(&self, key: &CacheKey) -> Vec<Arc<Member>> {
        let object = key.to_string();
        let own = rank::score(self.me.as_str(), &object);
        let peers = ranked(&self.peers, &object).filter(|(score, _)| *score > own);
        let parents = ranked(&self.parents, &object);
        peers.take(1).chain(parents).map(|(_, member)| member).take(TRIES).collect()
    }

    async fn ask_member(&self, member: &Arc<Member>, ask: &Ask) -> Result<Answer, OriginError> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| OriginError::Busy)?;
        let (busy, asked) = (member.busy(), Instant::now());
        let request = self.request(member, ask)?;
        let response = tokio::select! {
            response = tokio::time::timeout(self.first_byte_timeout, self.pool.request(request)) => response,
            () = member.gone() => return Err(OriginError::Unreachable),
        };
        let Ok(response) = response else { return Err(OriginError::Timeout("to begin its answer")) };
        let response = response.map_err(|_| {
            member.is_gone();
            OriginError::Unreachable
        })?;
        let status = response.status();
        // What it refuses or cannot get may still be had; it may have no room, or know us not.
        if status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 421 | 429) {
            return Err(OriginError::Status(status.as_u16()));
        }
        let mut answer = Answer::new(response, asked.elapsed(), self.idle_timeout, permit);
        answer.body.keeps(busy);
        answer.by = Some(member.id.clone());
        Ok(answer)
    }

    fn request(&self, member: &Member, ask: &Ask) -> Result<Request<Upload>, OriginError> {
        let unaskable = || OriginError::Nonsense("its URL cannot be asked");
        let target = target(&ask.key);
        let path = PathAndQuery::try_from(&*target).map_err(|_| unaskable())?;
        let uri = Uri::builder().scheme(member.scheme.clone()).authority(member.authority.clone()).path_and_query(path);
        let mut headers = ask.headers.clone();
        // As if its listener had asked: under the same key there as here.
        let host = if ask.key.host().is_empty() { member.authority.as_str() } else { ask.key.host() };
        headers.insert(header::HOST, HeaderValue::try_from(host).map_err(|_| unaskable())?);
        headers.insert(EDGE, self.seal.sign(&self.me, &target, Timestamp::now()));
        loops::append(&mut headers, self.me.as_str());
        if ask.renew {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let mut request = Request::new(Upload::none());
        *request.uri_mut() = uri.build().map_err(|_| unaskable())?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Those that are there and have room, best first.
fn ranked(members: &[Arc<Member>], object: &str) -> impl Iterator<Item = (u64, Arc<Member>)> {
    let there: Vec<_> = members.iter().filter(|member| member.is_up()).collect();
    let (total, count) = (there.iter().map(|member| member.load()).sum(), there.len());
    let able = there.into_iter().filter(|member| rank::has_room(member.load(), total, count));
    let mut ranked: Vec<_> = able.map(|member| (rank::score(member.id.as_str(), object), member.clone())).collect();
    ranked.sort_by_key(|(score, _)| Reverse(*score));
    ranked.into_iter()
}

/// The path by which another edge knows the key.
fn target(key: &CacheKey) -> String {
    if key.host().is_empty() {
        return format!("/{}", utf8_percent_encode(key.target(), KEY));
    }
    key.target().to_owned()
}
