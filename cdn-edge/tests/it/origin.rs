//! An origin that speaks as much of S3's GET as the edge uses, and fails on order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The origin sends its bodies in pieces of this size.
pub(crate) const PIECE: usize = 16 << 10;

/// What is served under a key, and how.
#[derive(Clone, Default)]
pub(crate) struct Act {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    pub(crate) cache_control: Option<String>,
    /// A permit for each head.
    pub(crate) heads: Option<Arc<Semaphore>>,
    /// A permit for each piece of a body.
    pub(crate) pieces: Option<Arc<Semaphore>>,
    /// Bodies break off at this byte of the object.
    pub(crate) cut_at: Option<usize>,
    /// A status instead of all that.
    pub(crate) status: Option<u16>,
    /// `Content-Range` and `Content-Length` are as if the object had this size.
    pub(crate) claimed_size: Option<u64>,
    pub(crate) ignores_ranges: bool,
    pub(crate) knows_conditions: bool,
}

impl Act {
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { bytes, etag: "\"one\"".into(), knows_conditions: true, ..Self::default() }
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Asked = Vec<(String, Option<Range<u64>>)>;

#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) url: String,
    acts: Arc<Mutex<HashMap<String, Act>>>,
    asked: Arc<Mutex<Asked>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let origin = Self { url, ..Self::default() };
        let serving = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let origin = serving.clone();
                let service = hyper::service::service_fn(move |request| {
                    let origin = origin.clone();
                    async move { Ok::<_, Infallible>(origin.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        origin
    }

    pub(crate) fn put(&self, key: &str, act: Act) {
        self.acts.lock().unwrap().insert(key.into(), act);
    }

    pub(crate) fn change(&self, key: &str, change: impl FnOnce(&mut Act)) {
        change(self.acts.lock().unwrap().get_mut(key).unwrap());
    }

    /// The requests so far, with their ranges.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        assert!(request.uri().query().unwrap_or("").contains("X-Amz-Signature="), "requests are signed");
        let key = request.uri().path().strip_prefix("/bucket/").unwrap().to_owned();
        let range = request.headers().get(header::RANGE).map(|range| parse(range.to_str().unwrap()));
        self.asked.lock().unwrap().push((key.clone(), range.clone()));
        let Some(act) = self.acts.lock().unwrap().get(&key).cloned() else { return empty(StatusCode::NOT_FOUND) };
        if let Some(heads) = &act.heads {
            heads.acquire().await.unwrap().forget();
        }
        if let Some(status) = act.status {
            return empty(StatusCode::from_u16(status).unwrap());
        }
        let tag = |name| request.headers().get(name).map(|tag| tag == act.etag.as_str());
        if act.knows_conditions && tag(header::IF_NONE_MATCH) == Some(true) {
            return empty(StatusCode::NOT_MODIFIED);
        }
        if act.knows_conditions && tag(header::IF_MATCH) == Some(false) {
            return empty(StatusCode::PRECONDITION_FAILED);
        }
        act.found(range.filter(|_| !act.ignores_ranges))
    }
}

impl Act {
    fn found(&self, range: Option<Range<u64>>) -> Response<Body> {
        let size = self.claimed_size.unwrap_or(self.bytes.len() as u64);
        let mut response = Response::builder().header(header::ETAG, &self.etag);
        if let Some(cache_control) = &self.cache_control {
            response = response.header(header::CACHE_CONTROL, cache_control);
        }
        let sent = match range {
            Some(range) if range.start >= size => return empty(StatusCode::RANGE_NOT_SATISFIABLE),
            Some(range) => {
                let sent = range.start..range.end.min(size);
                let told = format!("bytes {}-{}/{size}", sent.start, sent.end - 1);
                response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, told);
                sent
            }
            None => 0..size,
        };
        response = response.header(header::CONTENT_LENGTH, sent.end - sent.start);
        response.body(self.body(sent)).unwrap()
    }

    fn body(&self, sent: Range<u64>) -> Body {
        let has = self.bytes.len().min(self.cut_at.unwrap_or(usize::MAX));
        let end = has.min(sent.end as usize);
        let short = (end as u64) < sent.end;
        let bytes = self.bytes.slice((sent.start as usize).min(end)..end);
        let pieces = stream::unfold((bytes, self.pieces.clone(), short), |(mut rest, gate, short)| async move {
            if rest.is_empty() {
                // What a connection that is reset looks like from within.
                let cut = Err(std::io::Error::other("cut on order"));
                return short.then_some((cut, (rest, gate, false)));
            }
            if let Some(gate) = &gate {
                gate.acquire().await.unwrap().forget();
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            Some((Ok(Frame::data(piece)), (rest, gate, short)))
        });
        StreamBody::new(pieces).boxed_unsync()
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

fn parse(range: &str) -> Range<u64> {
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
}
