//! A client that shows everything: the head, and a body that may break off.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

/// Nothing in these tests takes longer on a loaded machine, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Err where the body broke off, with what came before.
    pub(crate) body: Result<Bytes, Bytes>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        self.body.as_ref().expect("the body is whole")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.bytes()).unwrap()
    }
}

/// A response whose body is still to be read.
pub(crate) struct Streaming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Streaming {
    /// The next bytes; none at a clean end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("bytes come in time");
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// As many bytes, however they are cut on the way; a few more may come with the last of them.
    pub(crate) async fn at_least(&mut self, len: usize) -> Bytes {
        let mut some = BytesMut::new();
        while some.len() < len {
            some.extend_from_slice(&self.next().await.expect("more bytes").expect("no failure"));
        }
        some.freeze()
    }

    pub(crate) async fn rest(mut self) -> Result<Bytes, Bytes> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await {
            match bytes {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(_) => return Err(all.freeze()),
            }
        }
        Ok(all.freeze())
    }
}

pub(crate) async fn open(method: Method, url: &str, headers: &[(&str, &str)]) -> Streaming {
    // A pool each: no test meets the connections of another's runtime.
    let pool = service::client::pool(PATIENCE, 1);
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).unwrap();
    let response = tokio::time::timeout(PATIENCE, pool.request(request)).await.expect("a head in time").unwrap();
    let (head, body) = response.into_parts();
    Streaming { status: head.status, headers: head.headers, body }
}

pub(crate) async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> Got {
    let streaming = open(method, url, headers).await;
    let (status, headers) = (streaming.status, streaming.headers.clone());
    Got { status, headers, body: streaming.rest().await }
}

pub(crate) async fn get(url: &str) -> Got {
    send(Method::GET, url, &[]).await
}

pub(crate) async fn get_range(url: &str, range: &str) -> Got {
    send(Method::GET, url, &[("range", range)]).await
}
