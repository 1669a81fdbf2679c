//! The web origin of all of them: bodies of any size at any pace, and a count of what was asked of it.
//!
//! `/SIZE/RATE/NAME` is an object of SIZE bytes that is sent at RATE bytes a second; 0 is as fast as it goes.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const PIECE: usize = 64 << 10;
/// Bodies repeat after so many bytes: no power of two, so that a shifted chunk shows.
const PERIOD: usize = 251;

pub(crate) struct Origin {
    pub(crate) url: String,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// What was asked of it in a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    /// Of bodies.
    pub(crate) bytes: u64,
}

impl Origin {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let counts = Arc::new(Counts::default());
        tokio::spawn(accept(listener, counts.clone()));
        Ok(Self { url, counts })
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Asked {
        let Counts { requests, bytes } = &*self.counts;
        Asked { requests: requests.swap(0, Relaxed), bytes: bytes.swap(0, Relaxed) }
    }
}

/// What bytes of any object are.
pub(crate) fn is_right(offset: u64, bytes: &[u8]) -> bool {
    bytes.iter().zip(offset..).all(|(byte, at)| u64::from(*byte) == at % PERIOD as u64)
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    let body: Bytes = (0..PIECE + PERIOD).map(|at| (at % PERIOD) as u8).collect();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, body.clone(), counts.clone()));
    }
}

async fn serve(stream: TcpStream, body: Bytes, counts: Arc<Counts>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(|request| {
        let answer = answer(&request, &body, &counts);
        async move { Ok::<_, Infallible>(answer) }
    });
    Ok(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

type Answer = Response<StreamBody<std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>>;

fn answer(request: &Request<Incoming>, body: &Bytes, counts: &Arc<Counts>) -> Answer {
    counts.requests.fetch_add(1, Relaxed);
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let Ok((size, rate)) = object(request.uri().path()) else {
        return respond(Response::builder().status(StatusCode::NOT_FOUND), 0..0, 0, body, counts);
    };
    let answer = Response::builder()
        .header(header::CACHE_CONTROL, "max-age=86400")
        .header(header::CONTENT_TYPE, "audio/mp4")
        .header(header::ETAG, "\"one\"")
        .header(header::LAST_MODIFIED, "Sat, 21 Nov 2026 09:00:00 GMT")
        .header(header::ACCEPT_RANGES, "bytes");
    let Some(part) = range.and_then(|range| part(range, size)) else {
        return respond(answer, 0..size, rate, body, counts);
    };
    let told = format!("bytes {}-{}/{size}", part.start, part.end - 1);
    respond(answer.status(206).header(header::CONTENT_RANGE, told), part, rate, body, counts)
}

fn respond(answer: http::response::Builder, part: Range<u64>, rate: u64, body: &Bytes, counts: &Arc<Counts>) -> Answer {
    let answer = answer.header(header::CONTENT_LENGTH, part.end - part.start);
    let pieces = pieces(part, rate, body.clone(), counts.clone());
    answer.body(StreamBody::new(Box::pin(pieces) as _)).expect("a status and headers make a response")
}

fn pieces(
    part: Range<u64>,
    rate: u64,
    body: Bytes,
    counts: Arc<Counts>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let (begun, start) = (Instant::now(), part.start);
    stream::unfold(part, move |part| {
        let (body, counts) = (body.clone(), counts.clone());
        async move {
            if part.is_empty() {
                return None;
            }
            if let Some(due) = (part.start - start).saturating_mul(1_000_000).checked_div(rate) {
                tokio::time::sleep_until(begun + Duration::from_micros(due)).await;
            }
            let length = (part.end - part.start).min(PIECE as u64);
            let shift = (part.start % PERIOD as u64) as usize;
            counts.bytes.fetch_add(length, Relaxed);
            let piece = body.slice(shift..shift + length as usize);
            Some((Ok(Frame::data(piece)), part.start + length..part.end))
        }
    })
}

fn object(path: &str) -> anyhow::Result<(u64, u64)> {
    let mut words = path.trim_start_matches('/').split('/');
    let mut number = || Ok::<_, anyhow::Error>(words.next().context("too short")?.parse::<u64>()?);
    Ok((number()?, number()?))
}

/// One range; whatever else was asked gets the whole.
fn part(range: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = last.parse::<u64>().map_or(size, |last| (last + 1).min(size));
    (first < end).then_some(first..end)
}
