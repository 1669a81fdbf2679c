//! Listing a bucket: the keys that begin so, for warm orders.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use rusty_s3::actions::{ListObjectsV2, S3Action};

use super::s3::{Bucket, SIGNED_FOR};
use super::{Origin, OriginError};

/// A page has at most 1,000 keys of 1 KiB, escaped.
const MAX_PAGE: usize = 8 << 20;

/// How long a page may take: a bucket of millions is slow to list.
const PATIENCE: Duration = Duration::from_secs(30);

impl Origin {
    /// The keys of a bucket that begin so, at most one more than `most`; none where the origin is no bucket.
    ///
    /// # Errors
    /// [`OriginError`] where the bucket does not tell.
    pub async fn list(&self, prefix: &str, most: usize) -> Result<Option<Vec<String>>, OriginError> {
        let Self::S3(bucket) = self else { return Ok(None) };
        let (mut keys, mut next) = (Vec::new(), None);
        loop {
            let page = tokio::time::timeout(PATIENCE, bucket.page(prefix, next)).await;
            let (found, token) = page.map_err(|_| OriginError::Timeout("to list its keys"))??;
            keys.extend(found);
            keys.truncate(most + 1);
            next = token.filter(|_| keys.len() <= most);
            if next.is_none() {
                return Ok(Some(keys));
            }
        }
    }
}

impl Bucket {
    async fn page(&self, prefix: &str, next: Option<String>) -> Result<(Vec<String>, Option<String>), OriginError> {
        let mut action = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
        action.with_prefix(prefix);
        if let Some(token) = next {
            action.with_continuation_token(token);
        }
        let request = Request::builder().method(Method::GET).uri(action.sign(SIGNED_FOR).as_str());
        let request =
            request.body(Full::<Bytes>::default()).map_err(|_| OriginError::Nonsense("its URL cannot be asked"))?;
        let answer = self.pool.request(request).await.map_err(|_| OriginError::Unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(OriginError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_PAGE).collect().await.map_err(|_| OriginError::Broken)?;
        let unreadable = OriginError::Nonsense("a list of keys that cannot be read");
        let text = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| unreadable.clone())?;
        let page = ListObjectsV2::parse_response(&text).map_err(|_| unreadable)?;
        Ok((page.contents.into_iter().map(|object| object.key).collect(), page.next_continuation_token))
    }
}
