//! Fetching as a player does: over kept connections, timed to the first and the last byte.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use service::client::Pool;
use tokio::time::Instant;

/// Longer than any segment or playlist of ours; what is longer is no answer to us.
const MAX_BODY: usize = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);

/// One answer, whole.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    /// From the request to the first byte of the answer's head.
    pub(crate) ttfb: Duration,
    /// From the request to the last byte.
    pub(crate) total: Duration,
}

impl Fetched {
    /// What the edge says of its cache: `hit`, `fwd=miss; stored`, …, as RFC 9211 has it.
    pub(crate) fn cache_status(&self) -> Option<&str> {
        self.headers.get("cache-status")?.to_str().ok()
    }
}

/// A player's connections.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    pool: Pool,
}

impl Fetcher {
    pub(crate) fn new() -> Self {
        Self { pool: service::client::pool(Duration::from_secs(5), 4) }
    }

    /// Fetches a whole resource.
    ///
    /// # Errors
    /// When there is no answer, no 2xx, or the body breaks off.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<Fetched> {
        let whole = tokio::time::timeout(TIMEOUT, self.exchange(url)).await;
        whole
            .map_err(|_| anyhow::anyhow!("no answer within {TIMEOUT:?}"))
            .flatten()
            .with_context(|| format!("GET {}", without_query(url)))
    }

    async fn exchange(&self, url: &str) -> anyhow::Result<Fetched> {
        let request = Request::get(url).header(header::USER_AGENT, super::USER_AGENT).body(Full::default())?;
        let start = Instant::now();
        let response = self.pool.request(request).await?;
        let ttfb = start.elapsed();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = collect(response).await?;
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(Fetched { body, headers, ttfb, total: start.elapsed() })
    }
}

async fn collect(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > MAX_BODY {
            bail!("the answer is longer than {MAX_BODY} bytes");
        }
    }
    Ok(whole.freeze())
}

/// A media URL's query may carry a token, which no message shows.
pub(crate) fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}
