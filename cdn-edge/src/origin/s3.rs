//! An S3 bucket as origin: signed ranged GETs over pooled connections, a bounded number at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::Full;
use rusty_s3::actions::{GetObject, S3Action};
use rusty_s3::{Credentials, UrlStyle};
use service::client::{Pool, pool};
use service::config::S3Config;
use tokio::sync::Semaphore;

use super::body::Body;
use super::{Answer, Ask, OriginError, Record};
use crate::config::EdgeConfig;
use crate::{cmsd, loops};

/// How long a signature holds: far beyond the request, short enough to be of no use in a log.
pub(super) const SIGNED_FOR: Duration = Duration::from_secs(300);

/// The bucket's headers that listeners get; the rest is between us and it.
const PASSED_ON: [HeaderName; 16] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::EXPIRES,
    header::DATE,
    header::AGE,
    header::CONTENT_RANGE,
    cmsd::STATIC,
    // What an object is purged by; a bucket keeps such fields as its metadata.
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("x-amz-meta-cache-tag"),
    HeaderName::from_static("x-amz-meta-surrogate-key"),
];

/// What a bucket is told of a request.
const ASKED_BY: [HeaderName; 4] = [header::RANGE, header::IF_MATCH, header::IF_NONE_MATCH, loops::CDN_LOOP];

#[derive(Debug)]
pub struct Bucket {
    pub(super) bucket: rusty_s3::Bucket,
    pub(super) credentials: Credentials,
    pub(super) pool: Pool,
    /// We in `CDN-Loop`: an endpoint may be an edge by mistake.
    cdn_id: String,
    permits: Arc<Semaphore>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    max_object: u64,
    record: Record,
}

impl Bucket {
    /// # Errors
    /// When endpoint and bucket make no URL.
    pub fn new(s3: &S3Config, edge: &EdgeConfig, cdn_id: &str, record: Record) -> anyhow::Result<Self> {
        let endpoint = s3.endpoint.parse().with_context(|| format!("the origin {} is no URL", s3.endpoint))?;
        let bucket = rusty_s3::Bucket::new(endpoint, UrlStyle::Path, s3.bucket.clone(), s3.region.clone())
            .with_context(|| format!("the bucket {} makes no URL", s3.bucket))?;
        Ok(Self {
            bucket,
            credentials: Credentials::new(&s3.access_key, s3.secret_key.expose()),
            pool: pool(edge.origin_connect_timeout.0, edge.origin_concurrency),
            cdn_id: cdn_id.to_owned(),
            permits: Arc::new(Semaphore::new(edge.origin_concurrency)),
            first_byte_timeout: edge.origin_first_byte_timeout.0,
            idle_timeout: edge.origin_idle_timeout.0,
            max_object: edge.max_object.as_u64(),
            record,
        })
    }

    /// Asks for an object, or a part of it.
    ///
    /// # Errors
    /// [`OriginError`] where there is no answer that could be served or explained.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, OriginError> {
        let answer = self.try_ask(ask).await;
        self.record.note(&answer);
        answer
    }

    async fn try_ask(&self, ask: &Ask) -> Result<Answer, OriginError> {
        let turn = tokio::time::timeout(self.first_byte_timeout, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else { return Err(OriginError::Busy) };
        let asked = Instant::now();
        let request = self.request(ask)?;
        let response = tokio::time::timeout(self.first_byte_timeout, self.pool.request(request)).await;
        let response = response
            .map_err(|_| OriginError::Timeout("to begin its answer"))?
            .map_err(|error| if error.is_connect() { OriginError::Unreachable } else { OriginError::Broken })?;
        let delay = asked.elapsed();
        self.record.metrics.origin_first_byte.record(delay.as_secs_f64());
        let mut answer = Answer::new(response, delay, self.idle_timeout, permit);
        if answer.status == StatusCode::NOT_FOUND && lacks_the_bucket(&mut answer.body).await {
            return Err(OriginError::NoBucket);
        }
        self.check(ask, answer)
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, OriginError> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), ask.key.target()).sign(SIGNED_FOR);
        let request = Request::builder().method(Method::GET).uri(url.as_str());
        let mut request =
            request.body(Full::default()).map_err(|_| OriginError::Nonsense("its URL cannot be asked"))?;
        for name in ASKED_BY {
            for value in ask.headers.get_all(&name) {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        loops::append(request.headers_mut(), &self.cdn_id);
        Ok(request)
    }

    /// What no bucket answers to such a question is an error.
    pub(super) fn check(&self, ask: &Ask, mut answer: Answer) -> Result<Answer, OriginError> {
        let size = match answer.status {
            StatusCode::OK => answer.length.ok_or(OriginError::Nonsense("a whole object without its length"))?,
            StatusCode::PARTIAL_CONTENT if !ask.headers.contains_key(header::RANGE) => {
                return Err(OriginError::Nonsense("a part where the whole was asked for"));
            }
            StatusCode::PARTIAL_CONTENT => {
                answer.part.as_ref().ok_or(OriginError::Nonsense("a part without a readable Content-Range"))?.size
            }
            StatusCode::NOT_MODIFIED
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::PRECONDITION_FAILED => 0,
            // It says SlowDown, or is to be back soon.
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => return Err(OriginError::Away),
            status => return Err(OriginError::Status(status.as_u16())),
        };
        if size > self.max_object {
            return Err(OriginError::TooLarge);
        }
        answer.headers = passed_on(&answer.headers);
        Ok(answer)
    }
}

/// Whether that is what a 404 is about. Its body is of no further use.
async fn lacks_the_bucket(body: &mut Body) -> bool {
    const MOST: usize = 1024;
    let mut text = Vec::new();
    while let Ok(Some(bytes)) = body.next().await {
        text.extend_from_slice(&bytes);
        if text.len() > MOST {
            break;
        }
    }
    String::from_utf8_lossy(&text).contains("<Code>NoSuchBucket</Code>")
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    PASSED_ON.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}
