//! The HTTP client for our own processes and for the origin: pooled, bounded, with TLS.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// hyper's pooled client, for bodies that stream.
pub type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Opens connections, plain or TLS by the URL, for HTTP/1.
#[must_use]
pub fn connector(connect_timeout: Duration) -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .expect("ring supports the default protocol versions")
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

/// A pool of connections: plain or TLS by the URL, at most `idle` idle ones a host.
#[must_use]
pub fn pool(connect_timeout: Duration, idle: usize) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(idle)
        .build(connector(connect_timeout))
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// # Errors
    /// When the body is not the JSON that was expected.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the answer is not the expected JSON")
    }

    /// # Errors
    /// Unless the status is 2xx; the message holds the status and the answer's own words.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let words = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned();
        bail!("{}: {words}", self.status)
    }
}

/// A client for small answers, each within a time and a size.
#[derive(Debug, Clone)]
pub struct ApiClient {
    pool: Pool,
    timeout: Duration,
    max_answer: usize,
    bearer: Option<String>,
    headers: HeaderMap,
}

impl ApiClient {
    /// Answers of at most 8 MiB, each within `timeout` from the connection to its last byte.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { pool: pool(timeout, 16), timeout, max_answer: 8 << 20, bearer: None, headers: HeaderMap::new() }
    }

    /// Shows this token with every request.
    #[must_use]
    pub fn with_bearer(mut self, token: impl Into<String>) -> Self {
        self.bearer = Some(token.into());
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// # Errors
    /// When there was no whole answer in time; any status is an answer.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, url, None).await
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub async fn send_json(&self, method: Method, url: &str, body: &impl serde::Serialize) -> anyhow::Result<Answer> {
        let body = serde_json::to_vec(body).context("cannot serialise the request")?;
        self.send(method, url, Some(("application/json", body.into()))).await
    }

    /// Sends a body with its content type, or none.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub async fn send(&self, method: Method, url: &str, body: Option<(&str, Bytes)>) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(&method).uri(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((content_type, _)) = &body {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        let bytes = body.map(|(_, bytes)| bytes).unwrap_or_default();
        let request = request.body(Full::new(bytes)).with_context(|| format!("cannot ask {url}"))?;
        let whole = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        whole
            .map_err(|_| anyhow::anyhow!("no answer within {:?}", self.timeout))
            .and_then(|answer| answer)
            .with_context(|| format!("{method} {url}"))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let (head, body) = self.pool.request(request).await?.into_parts();
        let body = Limited::new(body, self.max_answer).collect().await.map_err(|e| anyhow::anyhow!(e))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}
