//! The few HTTP requests that we make: one connection each, plain or TLS by the URL, bounded.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};

/// Nothing we ask for is longer.
const MAX_ANSWER: usize = 16 << 20;

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Errors
    /// With what the server said, unless it said 2xx.
    pub fn success(self, what: &str) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!("{what} was answered {}: {}", self.status, self.text().chars().take(500).collect::<String>())
    }
}

/// A request under construction.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    within: Duration,
}

impl Request {
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Bytes::new(), within: Duration::from_secs(10) }
    }

    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// # Errors
    /// When there is no whole answer in time; the status is the caller's to judge.
    pub async fn send(self) -> Result<Answer> {
        let what = format!("{} {}", self.method, without_query(&self.url));
        let within = self.within;
        tokio::time::timeout(within, self.exchange())
            .await
            .with_context(|| format!("{what}: no answer within {within:?}"))?
            .with_context(|| what)
    }

    async fn exchange(self) -> Result<Answer> {
        let client = service::client::pool(self.within, 0);
        let mut request = http::Request::builder().method(self.method).uri(self.url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let answer = client.request(request.body(Full::new(self.body))?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
        Ok(Answer { status, body })
    }
}

/// Signatures travel in queries; they are nobody's business in an error message.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}
