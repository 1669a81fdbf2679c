//! What the edge asks an origin for, and what it may hear. [`s3`] is the one kind there is so far.

pub mod s3;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use crate::object::Description;

pub use s3::Origin;

/// Why the origin's answer is of no use. Cheap to clone: a crowd shares it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("the origin cannot be reached")]
    Unreachable,
    #[error("the origin took too long {0}")]
    Timeout(&'static str),
    #[error("the origin answered {0}")]
    Status(u16),
    #[error("the origin's answer makes no sense: {0}")]
    Nonsense(&'static str),
    #[error("the origin's answer broke off")]
    Broken,
    #[error("too many requests to the origin are under way")]
    Busy,
    #[error("the object changed at the origin")]
    Changed,
    #[error("the object is larger than this edge takes")]
    TooLarge,
    #[error("the fill was given up")]
    Abandoned,
}

/// What is asked of the origin.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub range: Option<Range<u64>>,
    /// Only if it is still this version: its entity tag.
    pub if_match: Option<HeaderValue>,
    /// Only if it is another version.
    pub if_none_match: Option<HeaderValue>,
}

/// What it answered.
#[derive(Debug)]
pub enum Reply {
    Found(Found),
    /// 304, with its headers.
    NotModified(HeaderMap),
    NotFound,
    /// 416: nothing of the object lies in the range.
    OutOfRange,
    /// 412: it is another version now.
    Changed,
}

#[derive(Debug)]
pub struct Found {
    pub description: Description,
    pub headers: HeaderMap,
    /// From the request to the head.
    pub delay: Duration,
    /// Of the object, as the body carries them.
    pub bytes: Range<u64>,
    pub body: Body,
}

/// The bytes of an answer, each piece within the idle timeout.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    idle_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Body {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`OriginError::Broken`] or [`OriginError::Timeout`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        loop {
            let frame = tokio::time::timeout(self.idle_timeout, self.incoming.frame()).await;
            match frame.map_err(|_| OriginError::Timeout("between two pieces of a body"))? {
                None => return Ok(None),
                Some(Err(_)) => return Err(OriginError::Broken),
                // Trailers carry nothing that we pass on.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }
}
