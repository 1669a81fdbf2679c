//! What the edge asks an origin for, and what it may hear: an S3 bucket ([`s3`]) or any HTTP server ([`web`]).

pub mod body;
pub mod connector;
pub mod list;
pub mod s3;
pub mod upload;
pub mod web;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Incoming};
use service::Health;
use service::health::Status;
use tokio::sync::OwnedSemaphorePermit;
use wire::EdgeId;

use crate::interim::Interim;
use crate::key::CacheKey;
use crate::metrics::Metrics;
use crate::shield::Shield;
pub use body::Body;
use upload::Upload;

/// Why the origin's answer is of no use. Cheap to clone: a crowd shares it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("the origin cannot be reached")]
    Unreachable,
    #[error("what is held must be confirmed by the origin, which cannot be reached")]
    Unconfirmed,
    #[error("the origin took too long {0}")]
    Timeout(&'static str),
    #[error("the origin answered {0}")]
    Status(u16),
    #[error("the origin's answer makes no sense: {0}")]
    Nonsense(&'static str),
    #[error("the origin's answer broke off")]
    Broken,
    #[error("the request's body broke off, or is framed wrongly")]
    Upload,
    #[error("the origin asks to come later")]
    Away,
    #[error("too many requests to the origin are under way")]
    Busy,
    #[error("this edge has more to do than it can; what it holds is served")]
    Overloaded,
    #[error("the object changed at the origin")]
    Changed,
    #[error("the origin has no such bucket")]
    NoBucket,
    #[error("the object is larger than this edge takes")]
    TooLarge,
    #[error("the fill was given up")]
    Abandoned,
}

/// What is asked of the origin.
#[derive(Debug)]
pub struct Ask {
    pub method: Method,
    pub key: Arc<CacheKey>,
    /// A bucket is told the range and the conditions among them alone.
    pub headers: HeaderMap,
    pub body: Upload,
    /// It changed a while ago, and other edges may not know yet.
    pub renew: bool,
    /// Other edges whose answers to this broke off: they are not asked again.
    pub lost: Vec<EdgeId>,
    /// Where interim answers go; none where nobody is there for them.
    pub interim: Option<Interim>,
}

impl Ask {
    #[must_use]
    pub fn get(key: Arc<CacheKey>, headers: HeaderMap) -> Self {
        Self { method: Method::GET, key, headers, body: Upload::none(), renew: false, lost: Vec::new(), interim: None }
    }
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// The edge that gave it; none where the origin did.
    pub by: Option<EdgeId>,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// From the request to the head.
    pub delay: Duration,
    /// Of the body, where it was told.
    pub length: Option<u64>,
    /// Of a 206 whose head makes sense.
    pub part: Option<ContentRange>,
    pub body: Body,
}

/// `Content-Range` of a single part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    pub bytes: Range<u64>,
    pub size: u64,
}

impl Answer {
    pub(crate) fn new(
        response: Response<Incoming>,
        delay: Duration,
        idle_timeout: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (head, incoming) = response.into_parts();
        let length = HttpBody::size_hint(&incoming).exact();
        let part = part(head.status, &head.headers, length);
        let body = Body::new(incoming, idle_timeout, permit);
        Self { by: None, status: head.status, headers: head.headers, delay, length, part, body }
    }

    /// No more of a part than these bytes of the whole: it was asked for more than the client wants.
    pub fn narrow(&mut self, wanted: &Range<u64>) {
        let Some(ContentRange { bytes, size }) = &mut self.part else { return };
        let narrower = wanted.start.max(bytes.start)..wanted.end.min(bytes.end);
        if narrower.is_empty() || narrower == *bytes {
            return;
        }
        let length = narrower.end - narrower.start;
        self.body.narrow(narrower.start - bytes.start, length);
        let told = format!("bytes {}-{}/{size}", narrower.start, narrower.end - 1);
        self.headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(told).expect("digits make a header"));
        self.headers.insert(header::CONTENT_LENGTH, length.into());
        // They are about what was sent (RFC 9530, section 2).
        OF_THE_CONTENT.iter().for_each(|name| drop(self.headers.remove(*name)));
        (*bytes, self.length) = (narrower, Some(length));
    }
}

/// None where it is no part, or one whose length and place contradict each other.
fn part(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Option<ContentRange> {
    let told = headers.get(header::CONTENT_RANGE).filter(|_| status == StatusCode::PARTIAL_CONTENT)?;
    let part = content_range(told.to_str().ok()?)?;
    length.is_none_or(|length| length == part.bytes.end - part.bytes.start).then_some(part)
}

/// `bytes first-last/size`.
fn content_range(text: &str) -> Option<ContentRange> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some(ContentRange { bytes: first..last + 1, size })
}

/// `bytes=first-last`, or to the end where that is no matter.
#[must_use]
pub fn range_value(bytes: &Range<u64>) -> HeaderValue {
    let text = match bytes.end {
        u64::MAX => format!("bytes={}-", bytes.start),
        end => format!("bytes={}-{}", bytes.start, end - 1),
    };
    HeaderValue::try_from(text).expect("digits and ASCII make a header")
}

/// Fields about the bytes that are sent, not about the whole of which they are a part.
pub const OF_THE_CONTENT: [&str; 2] = ["content-digest", "content-md5"];

#[derive(Debug)]
pub enum Origin {
    S3(s3::Bucket),
    Web(web::WebOrigin),
}

impl Origin {
    /// # Errors
    /// [`OriginError`] where there is no answer that could be served or explained.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, OriginError> {
        match self {
            Self::S3(bucket) => bucket.ask(&ask).await,
            Self::Web(web) => web.ask(ask).await,
        }
    }

    #[must_use]
    pub fn is_web(&self) -> bool {
        matches!(self, Self::Web(_))
    }

    /// Another edge's answer as the origin itself would have given it.
    fn accept(&self, ask: &Ask, answer: Answer) -> Result<Answer, OriginError> {
        match self {
            Self::S3(bucket) => bucket.check(ask, answer),
            Self::Web(_) => Ok(answer),
        }
    }
}

/// The origin, with other edges before it where there are any.
#[derive(Debug)]
pub struct Upstream {
    pub origin: Origin,
    pub shield: Option<Shield>,
}

impl Upstream {
    /// # Errors
    /// As [`Origin::ask`].
    pub async fn ask(&self, ask: Ask) -> Result<Answer, OriginError> {
        if let Some(shield) = &self.shield
            && let Some(answer) = shield.ask(&ask).await
            && let Ok(answer) = self.origin.accept(&ask, answer)
        {
            return Ok(answer);
        }
        self.origin.ask(ask).await
    }

    /// Another edge has broken off in the midst of an answer.
    pub fn broke_off(&self, edge: &EdgeId) {
        if let Some(shield) = &self.shield {
            shield.broke_off(edge);
        }
    }

    #[must_use]
    pub fn is_web(&self) -> bool {
        self.origin.is_web()
    }
}

/// How the origin fares, in metrics and in health.
#[derive(Debug)]
pub struct Record {
    pub health: Health,
    pub metrics: Arc<Metrics>,
}

impl Record {
    fn note(&self, answer: &Result<Answer, OriginError>) {
        match answer.as_ref().map(|answer| answer.status) {
            Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => self.metrics.origin_missing.increment(1),
            Ok(StatusCode::NOT_MODIFIED) => self.metrics.origin_unchanged.increment(1),
            Ok(status) if status.is_server_error() => self.metrics.origin_failed.increment(1),
            Ok(_) => self.metrics.origin_found.increment(1),
            // The client's doing.
            Err(OriginError::Upload) => {}
            Err(_) => self.metrics.origin_failed.increment(1),
        }
        match answer {
            Ok(_) => self.health.set("origin", Status::Ok),
            // Our own limit, one object's fault, or a client's: the origin is there.
            Err(OriginError::Busy | OriginError::TooLarge | OriginError::Nonsense(_) | OriginError::Upload) => {}
            Err(error) => self.health.set("origin", Status::Degraded(format!("only what is held is served: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_that_lie_are_refused() {
        assert_eq!(content_range("bytes 0-9/10"), Some(ContentRange { bytes: 0..10, size: 10 }));
        for bad in
            ["bytes 0-10/10", "bytes 5-4/10", "bytes 0-9/*", "0-9/10", "bytes -9/10", "bytes 0-9/18446744073709551616"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, HeaderValue::from_static("bytes 0-9/10"))]);
        let told = |length| part(StatusCode::PARTIAL_CONTENT, &headers, length).is_some();
        assert!(told(None) && told(Some(10)) && !told(Some(9)));
        assert!(part(StatusCode::OK, &headers, None).is_none());
    }
}
