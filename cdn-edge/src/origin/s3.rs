//! An S3 bucket as origin: signed ranged GETs over pooled connections, a bounded number at a time.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use rusty_s3::actions::{GetObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use service::Health;
use service::client::{Pool, pool};
use service::config::S3Config;
use service::health::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::ObjectKey;

use super::{Ask, Body, Found, OriginError, Reply};
use crate::config::EdgeConfig;
use crate::metrics::Metrics;
use crate::object::Description;

/// How long a signature holds: far beyond the request, short enough to be of no use in a log.
const SIGNED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Origin {
    bucket: Bucket,
    credentials: Credentials,
    pool: Pool,
    permits: Arc<Semaphore>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    max_object: u64,
    health: Health,
    metrics: Arc<Metrics>,
}

impl Origin {
    /// # Errors
    /// When endpoint and bucket make no URL.
    pub fn new(s3: &S3Config, edge: &EdgeConfig, health: Health, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let endpoint = s3.endpoint.parse().with_context(|| format!("the origin {} is no URL", s3.endpoint))?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, s3.bucket.clone(), s3.region.clone())
            .with_context(|| format!("the bucket {} makes no URL", s3.bucket))?;
        Ok(Self {
            bucket,
            credentials: Credentials::new(&s3.access_key, s3.secret_key.expose()),
            pool: pool(edge.origin_connect_timeout.0, edge.origin_concurrency),
            permits: Arc::new(Semaphore::new(edge.origin_concurrency)),
            first_byte_timeout: edge.origin_first_byte_timeout.0,
            idle_timeout: edge.origin_idle_timeout.0,
            max_object: edge.max_object.as_u64(),
            health,
            metrics,
        })
    }

    /// Asks for an object, or a part of it.
    ///
    /// # Errors
    /// [`OriginError`] where there is no answer that could be served or explained.
    pub async fn get(&self, key: &ObjectKey, ask: &Ask) -> Result<Reply, OriginError> {
        let reply = self.try_get(key, ask).await;
        self.note(&reply);
        reply
    }

    async fn try_get(&self, key: &ObjectKey, ask: &Ask) -> Result<Reply, OriginError> {
        let turn = tokio::time::timeout(self.first_byte_timeout, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else { return Err(OriginError::Busy) };
        let asked = Instant::now();
        let request = self.request(key, ask)?;
        let response = tokio::time::timeout(self.first_byte_timeout, self.pool.request(request)).await;
        let response = response
            .map_err(|_| OriginError::Timeout("to begin its answer"))?
            .map_err(|error| if error.is_connect() { OriginError::Unreachable } else { OriginError::Broken })?;
        let delay = asked.elapsed();
        self.metrics.origin_first_byte.record(delay.as_secs_f64());
        self.read(response, ask, delay, permit)
    }

    fn request(&self, key: &ObjectKey, ask: &Ask) -> Result<Request<Full<Bytes>>, OriginError> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), key.as_str()).sign(SIGNED_FOR);
        let mut request = Request::builder().method(Method::GET).uri(url.as_str());
        if let Some(range) = &ask.range {
            request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(etag) = &ask.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(etag) = &ask.if_none_match {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request.body(Full::default()).map_err(|_| OriginError::Nonsense("its URL cannot be asked"))
    }

    fn read(
        &self,
        response: Response<Incoming>,
        ask: &Ask,
        delay: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Result<Reply, OriginError> {
        let (head, incoming) = response.into_parts();
        let (bytes, size) = match head.status {
            StatusCode::OK => whole(&incoming)?,
            StatusCode::PARTIAL_CONTENT => part(&head.headers, ask)?,
            StatusCode::NOT_MODIFIED => return Ok(Reply::NotModified(head.headers)),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Reply::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Reply::OutOfRange),
            StatusCode::PRECONDITION_FAILED => return Ok(Reply::Changed),
            status => return Err(OriginError::Status(status.as_u16())),
        };
        if size > self.max_object {
            return Err(OriginError::TooLarge);
        }
        let description = Description::new(size, &head.headers);
        let body = Body { incoming, idle_timeout: self.idle_timeout, _permit: permit };
        Ok(Reply::Found(Found { description, headers: head.headers, delay, bytes, body }))
    }

    fn note(&self, reply: &Result<Reply, OriginError>) {
        match reply {
            Ok(Reply::NotFound) => self.metrics.origin_missing.increment(1),
            Ok(Reply::NotModified(_)) => self.metrics.origin_unchanged.increment(1),
            Ok(_) => self.metrics.origin_found.increment(1),
            Err(_) => self.metrics.origin_failed.increment(1),
        }
        match reply {
            Ok(_) => self.health.set("origin", Status::Ok),
            // Our own limit, or one object's fault: the origin is there.
            Err(OriginError::Busy | OriginError::TooLarge | OriginError::Nonsense(_)) => {}
            Err(error) => self.health.set("origin", Status::Degraded(format!("only what is held is served: {error}"))),
        }
    }
}

/// 200: the origin knows no ranges, or none was asked for.
fn whole(incoming: &Incoming) -> Result<(Range<u64>, u64), OriginError> {
    let size = hyper::body::Body::size_hint(incoming).exact();
    let size = size.ok_or(OriginError::Nonsense("a whole object without its length"))?;
    Ok((0..size, size))
}

/// 206: must be the part that was asked for, up to the object's end.
fn part(headers: &HeaderMap, ask: &Ask) -> Result<(Range<u64>, u64), OriginError> {
    let told = headers.get(header::CONTENT_RANGE).and_then(|value| content_range(value.to_str().ok()?));
    let (bytes, size) = told.ok_or(OriginError::Nonsense("a part without a readable Content-Range"))?;
    let asked = ask.range.as_ref().ok_or(OriginError::Nonsense("a part where the whole was asked for"))?;
    if bytes.start != asked.start || bytes.end != asked.end.min(size) {
        return Err(OriginError::Nonsense("another part than the one asked for"));
    }
    Ok((bytes, size))
}

/// `bytes first-last/size`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_that_lie_are_refused() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0..10, 10)));
        for bad in
            ["bytes 0-10/10", "bytes 5-4/10", "bytes 0-9/*", "0-9/10", "bytes -9/10", "bytes 0-9/18446744073709551616"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
