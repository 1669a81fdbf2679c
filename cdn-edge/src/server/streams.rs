//! HTTP/2: many answers on one connection, counted as they are handed to it.
//!
//! What hyper writes cannot be told apart by answer here, so a body's bytes count once hyper has taken them,
//! which it does as the client's windows allow. hyper has no limit to how long a client may hold a
//! connection without a request, or a window without opening it; [`Activity`] has.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;

use super::answer::Answerer;
use super::counters::Counters;
use super::tcp::Tcp;
use crate::body::EdgeBody;
use crate::delivery::transcript::{Deliveries, Sent, Transcript};
use crate::origin::OriginError;
use crate::origin::upload::Upload;

/// Answers at a time on one connection: what browsers open, and no more.
pub const STREAMS: u32 = 128;

/// What is under way on a connection, and when anything last moved.
#[derive(Debug)]
pub struct Activity {
    begun: Instant,
    answers: AtomicUsize,
    moved_ms: AtomicU64,
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weary {
    /// Nobody asks for anything.
    Idle,
    /// Nobody takes what was asked for.
    Stalled,
}

impl Activity {
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now(), answers: AtomicUsize::new(0), moved_ms: AtomicU64::new(0) }
    }

    fn moved(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now, Relaxed);
    }

    fn still_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.moved_ms.load(Relaxed)))
    }

    /// Returns once the connection has been of no use for too long.
    pub async fn weary(&self, idle: Duration, stalled: Duration) -> Weary {
        loop {
            let busy = self.answers.load(Relaxed) > 0;
            let left = if busy { stalled } else { idle }.saturating_sub(self.still_for());
            if left.is_zero() {
                return if busy { Weary::Stalled } else { Weary::Idle };
            }
            // Of the two, what is under way may change before the time is over.
            tokio::time::sleep(left.min(idle).min(Duration::from_secs(1)).max(Duration::from_millis(10))).await;
        }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers the requests of one connection.
#[derive(Debug)]
pub struct Streams {
    pub answerer: Answerer,
    pub activity: Arc<Activity>,
    pub tcp: Arc<Tcp>,
}

impl Streams {
    #[must_use]
    pub fn new(answerer: Answerer, tcp: Arc<Tcp>) -> Self {
        Self { answerer, activity: Arc::default(), tcp }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Response<Counted> {
        let under_way = UnderWay::new(self.activity.clone(), self.answerer.counters.clone());
        let is_head = request.method() == http::Method::HEAD;
        let (mut head, body) = request.into_parts();
        let (response, transcript) = match self.answerer.counters.streams.load(Relaxed) {
            many if many > self.answerer.shared.max_streams => (self.answerer.too_busy(), None),
            _ => self.answerer.answer(&mut head, Upload::of(body)).await.into_parts(),
        };
        let (counters, deliveries) = (self.answerer.counters.clone(), self.answerer.shared.deliveries.clone());
        response.map(|body| Counted {
            left: body.size_hint().exact().filter(|_| !is_head),
            over: is_head,
            body,
            sent: 0,
            first: None,
            transcript,
            counters,
            deliveries,
            tcp: self.tcp.clone(),
            under_way,
        })
    }
}

/// Counts an answer for as long as it is under way.
#[derive(Debug)]
struct UnderWay(Arc<Activity>, Arc<Counters>);

impl UnderWay {
    fn new(activity: Arc<Activity>, counters: Arc<Counters>) -> Self {
        activity.answers.fetch_add(1, Relaxed);
        counters.streams.fetch_add(1, Relaxed);
        activity.moved();
        Self(activity, counters)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.moved();
        self.0.answers.fetch_sub(1, Relaxed);
        self.1.streams.fetch_sub(1, Relaxed);
    }
}

/// A body whose bytes are counted as they are taken; its record is made when it is done with.
#[derive(Debug)]
pub struct Counted {
    body: EdgeBody,
    left: Option<u64>,
    over: bool,
    sent: u64,
    first: Option<Instant>,
    transcript: Option<Arc<Transcript>>,
    counters: Arc<Counters>,
    deliveries: Deliveries,
    tcp: Arc<Tcp>,
    under_way: UnderWay,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let this = self.get_mut();
        // Asked for more: the client has room.
        this.under_way.0.moved();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                let now = Instant::now();
                this.first.get_or_insert(now);
                this.sent += len;
                this.left = this.left.map(|left| left.saturating_sub(len));
                this.counters.body_bytes.fetch_add(len, Relaxed);
                if let Some(transcript) = &this.transcript {
                    transcript.sent(this.so_far(), now);
                }
            }
            Some(Err(_)) => {}
            None => this.over = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Counted {
    fn so_far(&self) -> Sent {
        Sent { bytes: self.sent, complete: self.over || self.left == Some(0), first_byte: self.first }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(transcript) = &self.transcript else { return };
        self.counters.answered(transcript.cache_status());
        if self.deliveries.wanted() {
            self.deliveries.push(transcript.record(self.so_far(), self.tcp.note(), Instant::now()));
        }
    }
}

/// Runs a connection's tasks on its own thread.
#[derive(Debug, Clone, Copy)]
pub struct OnThisThread;

impl<F> Executor<F> for OnThisThread
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}
