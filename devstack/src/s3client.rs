//! As much of an S3 client as the demo library and the tests need: make a bucket, put, list.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use rusty_s3::actions::{ListObjectsV2, PutObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use url::Url;
use wire::endpoints::S3Endpoint;

use crate::http::Request;

/// How long a signature is good: as long as the request, and a slow disk's patience.
const SIGNED_FOR: Duration = Duration::from_secs(300);
pub const REGION: &str = "us-east-1";

#[derive(Debug, Clone)]
pub struct S3Client {
    bucket: Bucket,
    credentials: Credentials,
}

impl S3Client {
    /// # Errors
    /// When the endpoint is no URL.
    pub fn new(endpoint: &S3Endpoint) -> Result<Self> {
        let url: Url = endpoint.endpoint.parse().with_context(|| format!("{} is no URL", endpoint.endpoint))?;
        let bucket = Bucket::new(url, UrlStyle::Path, endpoint.bucket.clone(), REGION)?;
        Ok(Self { bucket, credentials: Credentials::new(&endpoint.access_key, &endpoint.secret_key) })
    }

    /// One that exists already is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_bucket(&self) -> Result<()> {
        let url = self.bucket.create_bucket(&self.credentials).sign(SIGNED_FOR);
        let answer = Request::new(Method::PUT, url).send().await?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        answer.success(&format!("creating bucket {}", self.bucket.name())).map(drop)
    }

    /// # Errors
    /// When the server refuses.
    pub async fn put(&self, key: &str, content_type: &str, body: Bytes) -> Result<()> {
        let mut action = PutObject::new(&self.bucket, Some(&self.credentials), key);
        action.headers_mut().insert("content-type", content_type);
        let request = Request::new(Method::PUT, action.sign(SIGNED_FOR)).header("content-type", content_type);
        let answer = request.body(body).within(Duration::from_secs(60)).send().await?;
        answer.success(&format!("putting {key}")).map(drop)
    }

    /// The keys that begin so, with their sizes.
    ///
    /// # Errors
    /// When the server refuses, or answers what we cannot read.
    pub async fn list(&self, prefix: &str) -> Result<HashMap<String, u64>> {
        let mut found = HashMap::new();
        let mut page = None;
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(prefix.to_owned());
            if let Some(token) = page {
                action.with_continuation_token(token);
            }
            let answer = Request::get(action.sign(SIGNED_FOR)).send().await?.success("listing the bucket")?;
            let listed = ListObjectsV2::parse_response(&answer.text()).context("read the bucket's list")?;
            found.extend(listed.contents.into_iter().map(|object| (object.key, object.size.unwrap_or(0))));
            match listed.next_continuation_token {
                Some(token) => page = Some(token),
                None => return Ok(found),
            }
        }
    }
}
