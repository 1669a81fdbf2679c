//! Any HTTP server as origin: requests as they came, over pooled connections, a bounded number at a time.
//!
//! What is asked is asked once. Only a request without a body, of a safe method, is sent a second
//! time, and only where a connection ended before the first byte of an answer (RFC 9110, section
//! 9.2.2). Redirects are answers like any other. Interim answers (1xx) go to whoever the request names for them.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::connector::Connector;
use super::upload::{Moved, Upload};
use super::{Answer, Ask, OriginError, Record};
use crate::config::EdgeConfig;
use crate::forward::has_foreign_coding;
use crate::key::CacheKey;
use crate::loops;

/// Largest head of an answer, and most fields of it.
const HEAD: usize = 128 << 10;
const FIELDS: usize = 256;

/// Below what servers commonly keep idle connections for, so that few are found dead.
const IDLE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct WebOrigin {
    scheme: Scheme,
    authority: Authority,
    pool: Client<Connector, Upload>,
    /// We in `CDN-Loop`.
    cdn_id: String,
    permits: Arc<Semaphore>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    record: Record,
}

impl WebOrigin {
    /// # Errors
    /// When the URL names no server, or its authorities cannot be read.
    pub fn new(url: &str, edge: &EdgeConfig, cdn_id: &str, record: Record) -> anyhow::Result<Self> {
        let parts = url.parse::<Uri>().with_context(|| format!("the origin {url} is no URL"))?.into_parts();
        let scheme = parts.scheme.with_context(|| format!("the origin {url} has no scheme"))?;
        let authority = parts.authority.with_context(|| format!("the origin {url} has no host"))?;
        let (connect, tls) = (edge.origin_connect_timeout.0, edge.origin_tls_timeout.0);
        let connector = Connector::new(connect, tls, edge.origin_ca.as_deref())?;
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(edge.origin_concurrency)
            .retry_canceled_requests(false)
            .set_host(false)
            .http1_max_buf_size(HEAD)
            .http1_max_headers(FIELDS)
            .build(connector);
        Ok(Self {
            scheme,
            authority,
            pool,
            cdn_id: cdn_id.to_owned(),
            permits: Arc::new(Semaphore::new(edge.origin_concurrency)),
            first_byte_timeout: edge.origin_first_byte_timeout.0,
            idle_timeout: edge.origin_idle_timeout.0,
            record,
        })
    }

    /// The origin's own name for itself, where requests do not carry their client's.
    #[must_use]
    pub fn host(&self) -> HeaderValue {
        HeaderValue::try_from(self.authority.as_str()).expect("an authority makes a header")
    }

    /// Asks, and passes on whatever is answered.
    ///
    /// # Errors
    /// [`OriginError`] where nothing was, in time.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, OriginError> {
        let answer = self.try_ask(ask).await;
        self.record.note(&answer);
        answer
    }

    async fn try_ask(&self, ask: Ask) -> Result<Answer, OriginError> {
        let turn = tokio::time::timeout(self.first_byte_timeout, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else { return Err(OriginError::Busy) };
        let asked = Instant::now();
        let response = self.exchange(ask).await?;
        let delay = asked.elapsed();
        self.record.metrics.origin_first_byte.record(delay.as_secs_f64());
        Ok(Answer::new(response, delay, self.idle_timeout, permit))
    }

    async fn exchange(&self, ask: Ask) -> Result<Response<Incoming>, OriginError> {
        let Ask { method, key, headers, body, interim, .. } = ask;
        let again = (body.is_none() && may_repeat(&method)).then(|| headers.clone());
        let mut request = self.request(method.clone(), &key, headers, body)?;
        if let Some(interim) = interim {
            on_informational(&mut request, move |answer| interim.pass(answer.status(), answer.headers()));
        }
        let first = self.send(request).await;
        let response = match (first, again) {
            (Err(Failure::Lost), Some(headers)) => {
                let request = self.request(method, &key, headers, Upload::none())?;
                self.send(request).await.map_err(Failure::told)?
            }
            (outcome, _) => outcome.map_err(Failure::told)?,
        };
        if has_foreign_coding(response.headers()) {
            return Err(OriginError::Nonsense("a transfer coding that was not asked for"));
        }
        Ok(response)
    }

    fn request(
        &self,
        method: Method,
        key: &CacheKey,
        headers: HeaderMap,
        body: Upload,
    ) -> Result<Request<Upload>, OriginError> {
        let unaskable = OriginError::Nonsense("its URL cannot be asked");
        let target = PathAndQuery::try_from(key.target()).map_err(|_| unaskable.clone())?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(target);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().map_err(|_| unaskable)?;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        loops::append(request.headers_mut(), &self.cdn_id);
        Ok(request)
    }

    /// The time to the first byte runs from the request's last.
    async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, Failure> {
        let moved: Moved = request.body().moved();
        let mut before = moved.frames();
        let mut response = std::pin::pin!(self.pool.request(request));
        loop {
            match tokio::time::timeout(self.first_byte_timeout, response.as_mut()).await {
                Ok(outcome) => return outcome.map_err(|error| failure(&error)),
                Err(_) if moved.frames() > before => before = moved.frames(),
                Err(_) => return Err(Failure::Told(OriginError::Timeout("to begin its answer"))),
            }
        }
    }
}

fn may_repeat(method: &Method) -> bool {
    method.is_safe()
}

enum Failure {
    /// The connection ended before the first byte of an answer.
    Lost,
    Told(OriginError),
}

impl Failure {
    fn told(self) -> OriginError {
        match self {
            Self::Lost => OriginError::Broken,
            Self::Told(error) => error,
        }
    }
}

fn failure(error: &Error) -> Failure {
    let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    if error.is_connect() {
        let late = error.source().is_some_and(is_late);
        return Failure::Told(if late {
            OriginError::Timeout("to take a connection")
        } else {
            OriginError::Unreachable
        });
    }
    match hyper {
        Some(hyper) if hyper.is_parse_too_large() => Failure::Told(OriginError::Nonsense("its head is too large")),
        Some(hyper) if hyper.is_parse() => Failure::Told(OriginError::Nonsense("its head is no HTTP")),
        Some(hyper) if hyper.is_user() => Failure::Told(OriginError::Upload),
        _ => Failure::Lost,
    }
}

fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) || error.source().is_some_and(is_late)
}
