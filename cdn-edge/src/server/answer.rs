//! From a request's head to its response.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use service::Problem;
use wire::{FieldError, ObjectKey, Timestamp};

use super::Shared;
use super::counters::Counters;
use super::meter::Meter;
use crate::body::{EdgeBody, MediaBody};
use crate::conditions::{Verdict, evaluate, range_holds};
use crate::delivery::Subject;
use crate::delivery::transcript::{Arrival, Transcript};
use crate::library::open::{How, OpenError, Opened, wanted};
use crate::object::{CHUNK, Object};
use crate::origin::OriginError;
use crate::range::{RangeSpec, Selected};
use crate::reader::{Reader, Source};
use crate::request;
use crate::respond::{self, CacheNote};

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Chunks that `Cache-Status` speaks for, 128 MiB: a header is not worth a walk through a huge object.
const NOTED: usize = 512;

/// Answers the requests of one connection.
#[derive(Debug)]
pub struct Answerer {
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub meter: Arc<Meter>,
    pub client: IpAddr,
}

/// A response, with its transcript where it is about an object.
type Answered = (Response<EdgeBody>, Option<Arc<Transcript>>);

/// What a media request asks for.
struct Wanted<'a> {
    request: &'a Request<Incoming>,
    range: Option<RangeSpec>,
    arrival: Arrival,
}

impl Answerer {
    pub async fn answer(&self, request: &Request<Incoming>) -> Response<EdgeBody> {
        self.counters.requests.fetch_add(1, Relaxed);
        let (response, transcript) = match *request.method() {
            Method::GET | Method::HEAD => self.get(request).await,
            Method::OPTIONS => (preflight(), None),
            _ => (method_not_allowed(), None),
        };
        let bodiless = request.method() == Method::HEAD;
        let body = if bodiless { 0 } else { response.body().size_hint().exact().unwrap_or(0) };
        self.meter.expect(body, transcript);
        response
    }

    async fn get(&self, request: &Request<Incoming>) -> Answered {
        match request.uri().path() {
            "/.tonearm/ping" => (pong(), None),
            "/.tonearm/test.chunk" => (self.test_chunk(), None),
            _ => self.media(request).await,
        }
    }

    fn test_chunk(&self) -> Response<EdgeBody> {
        let Ok(permit) = self.shared.test_chunks.clone().try_acquire_owned() else {
            return respond::problem(&Problem::unavailable("too many test chunks are under way", 1));
        };
        fresh(EdgeBody::Limited(Some(self.shared.test_chunk.clone()), permit), "application/octet-stream")
    }

    async fn media(&self, request: &Request<Incoming>) -> Answered {
        let head = request.method() == Method::HEAD;
        let range = request.headers().get(header::RANGE).filter(|_| !head);
        let arrival = Arrival {
            begun: Instant::now(),
            started_at: Timestamp::now(),
            decision_id: request::decision_id(request.uri()),
            head,
            client: self.client,
        };
        let wanted = Wanted { request, range: range.and_then(|range| RangeSpec::parse(range.as_bytes())), arrival };
        let text = match request::key_text(request.uri()) {
            Ok(text) => text,
            Err(error) => return (respond::problem(&error.into()), None),
        };
        if let Some(object) = self.shared.library.servable(&text, arrival.started_at) {
            let how = if object.is_fresh(arrival.started_at) { How::Held } else { How::Stale };
            let opened = Opened { object, how };
            // What is held may need no wait at all; what does is the rarer case, and boxed.
            return match self.offer(&wanted, opened, false) {
                Offer::Ready(answered) => answered,
                Offer::Pending(reader, note) => Box::pin(self.read_first(&wanted, reader, note)).await,
            };
        }
        match ObjectKey::new(text) {
            Ok(key) => Box::pin(self.open_and_answer(&wanted, &key)).await,
            Err(error) => (respond::problem(&FieldError::new("path", error.to_string()).into()), None),
        }
    }

    async fn open_and_answer(&self, wanted: &Wanted<'_>, key: &ObjectKey) -> Answered {
        let limit = self.shared.http.request_timeout.0;
        let opened = tokio::time::timeout(limit, self.open(wanted, key)).await;
        let opened = opened.unwrap_or(Err(OpenError::Origin(OriginError::Timeout("to make the object known"))));
        match opened {
            Ok((opened, collapsed)) => match self.offer(wanted, opened, collapsed) {
                Offer::Ready(answered) => answered,
                Offer::Pending(reader, note) => self.read_first(wanted, reader, note).await,
            },
            Err(error) => self.failed(wanted, Subject::Key(key.clone()), &error),
        }
    }

    /// An object that changed while it was asked about is asked for once more, as the new one it is.
    async fn open(&self, wanted: &Wanted<'_>, key: &ObjectKey) -> Result<(Opened, bool), OpenError> {
        let bytes = || if wanted.arrival.head { None } else { self::wanted(wanted.range) };
        match self.shared.library.open(key, bytes()).await {
            Err(OpenError::Origin(OriginError::Changed)) => self.shared.library.open(key, bytes()).await,
            outcome => outcome,
        }
    }

    /// The answer, as far as it needs no byte of the object that is not in memory.
    fn offer(&self, wanted: &Wanted<'_>, opened: Opened, collapsed: bool) -> Offer {
        let (object, headers) = (&opened.object, wanted.request.headers());
        match evaluate(headers, object.validators()) {
            Verdict::Proceed => {}
            Verdict::NotModified => return Offer::Ready(self.not_modified(wanted, &opened, collapsed)),
            Verdict::PreconditionFailed => return Offer::Ready(self.precondition_failed(wanted, object)),
        }
        let range = wanted.range.filter(|_| range_holds(headers, object.validators()));
        let range = match range.map_or(Selected::Whole, |range| range.select(object.size())) {
            Selected::Whole => 0..object.size(),
            Selected::Part(range) => range,
            Selected::Unsatisfiable => return Offer::Ready(self.unsatisfiable(wanted, object)),
        };
        let note = self.note(&opened, &range, collapsed);
        let mut reader = Reader::new(self.shared.library.clone(), opened.object, range);
        if opened.how == How::Cold && !collapsed {
            reader.started_the_fill();
        }
        if wanted.arrival.head || reader.left() == 0 {
            return Offer::Ready(self.without_body(wanted, &reader, note));
        }
        match reader.ready() {
            Some(first) => Offer::Ready(self.with_body(wanted, first, reader, note)),
            None => Offer::Pending(reader, note),
        }
    }

    /// Waits for the first bytes before the head is sent: up to here a failure still has a status.
    async fn read_first(&self, wanted: &Wanted<'_>, mut reader: Reader, note: CacheNote) -> Answered {
        let object = reader.object.clone();
        let first = tokio::time::timeout(self.shared.http.request_timeout.0, reader.next()).await;
        match first.unwrap_or(Err(OriginError::Timeout("to bring the first bytes"))) {
            Ok(first) => self.with_body(wanted, first, reader, note),
            Err(error) => self.failed(wanted, Subject::Object(object), &error.into()),
        }
    }

    /// Looks at no more than [`NOTED`] chunks, and no further than the answer is clear.
    fn note(&self, opened: &Opened, range: &Range<u64>, collapsed: bool) -> CacheNote {
        let (first, end) = (range.start / CHUNK, range.end.div_ceil(CHUNK));
        let cache = &self.shared.library.cache;
        let (mut some_held, mut all_held) = (false, true);
        for chunk in (first..end).take(NOTED) {
            match cache.holds(&opened.object, u32::try_from(chunk).expect("within the object")) {
                true => some_held = true,
                false => all_held = false,
            }
            if some_held && !all_held {
                break;
            }
        }
        let cold = opened.how == How::Cold;
        CacheNote { how: opened.how, all_held: all_held && !cold, some_held: some_held && !cold, collapsed }
    }

    fn with_body(&self, wanted: &Wanted<'_>, first: bytes::Bytes, reader: Reader, note: CacheNote) -> Answered {
        let (object, size) = (reader.object.clone(), reader.object.size());
        let collapsed = note.collapsed || reader.source() == Source::Joined;
        let headers = self.head(wanted, &object, CacheNote { collapsed, ..note });
        let range = reader.end() - reader.left() - first.len() as u64..reader.end();
        let part = range.end - range.start < size || is_whole_part(wanted, &object);
        let status = if part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let transcript = Transcript::new(wanted.arrival, Subject::Object(object), status.as_u16(), range.start);
        let body = EdgeBody::Media(MediaBody::new(first, reader, transcript.clone()));
        let response = if part { respond::part(headers, &range, size, body) } else { respond::whole(headers, body) };
        (response, Some(transcript))
    }

    /// HEAD, and the empty object.
    fn without_body(&self, wanted: &Wanted<'_>, reader: &Reader, note: CacheNote) -> Answered {
        let headers = self.head(wanted, &reader.object, note);
        let transcript = self.transcript(wanted, &reader.object, StatusCode::OK);
        transcript.saw(if note.how == How::Cold { reader.source().max(Source::Joined) } else { Source::Memory });
        (respond::whole(headers, EdgeBody::empty()), Some(transcript))
    }

    fn not_modified(&self, wanted: &Wanted<'_>, opened: &Opened, collapsed: bool) -> Answered {
        let note = CacheNote { how: opened.how, all_held: opened.how != How::Cold, some_held: false, collapsed };
        let headers = self.head(wanted, &opened.object, note);
        let transcript = self.transcript(wanted, &opened.object, StatusCode::NOT_MODIFIED);
        transcript.saw(if note.all_held { Source::Memory } else { Source::Filled });
        (respond::not_modified(headers), Some(transcript))
    }

    fn head(&self, wanted: &Wanted<'_>, object: &Object, note: CacheNote) -> http::HeaderMap {
        let now = match note.how {
            How::Held => wanted.arrival.started_at,
            // It was made or refreshed after the request came in.
            _ => Timestamp::now(),
        };
        respond::head(object, now, &respond::cache_status(&self.shared.edge, object, note, now))
    }

    fn transcript(&self, wanted: &Wanted<'_>, object: &Arc<Object>, status: StatusCode) -> Arc<Transcript> {
        Transcript::new(wanted.arrival, Subject::Object(object.clone()), status.as_u16(), 0)
    }

    fn precondition_failed(&self, wanted: &Wanted<'_>, object: &Arc<Object>) -> Answered {
        let status = StatusCode::PRECONDITION_FAILED;
        let problem = Problem::new(status, "precondition-failed", "the object is not the one that is asked for");
        (respond::problem(&problem), Some(self.transcript(wanted, object, status)))
    }

    fn unsatisfiable(&self, wanted: &Wanted<'_>, object: &Arc<Object>) -> Answered {
        let transcript = self.transcript(wanted, object, StatusCode::RANGE_NOT_SATISFIABLE);
        (respond::unsatisfiable(object), Some(transcript))
    }

    fn failed(&self, wanted: &Wanted<'_>, subject: Subject, error: &OpenError) -> Answered {
        let problem = respond::open_problem(error);
        let transcript = Transcript::new(wanted.arrival, subject, problem.status.as_u16(), 0);
        (respond::problem(&problem), Some(transcript))
    }
}

enum Offer {
    Ready(Answered),
    /// Nothing is missing but the first bytes.
    Pending(Reader, CacheNote),
}

/// `bytes=0-` of an object is a part that is the whole: still a 206.
fn is_whole_part(wanted: &Wanted<'_>, object: &Object) -> bool {
    wanted.range.is_some() && range_holds(wanted.request.headers(), object.validators())
}

fn preflight() -> Response<EdgeBody> {
    let mut headers = respond::cors();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::ALLOW, ALLOWED);
    respond::answer(StatusCode::NO_CONTENT, headers, EdgeBody::empty())
}

fn method_not_allowed() -> Response<EdgeBody> {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "objects are only read here");
    respond::problem(&problem.with_header(header::ALLOW, ALLOWED))
}

/// Without a body: what measures the network must not count as load on it.
fn pong() -> Response<EdgeBody> {
    let mut headers = respond::cors();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    respond::answer(StatusCode::NO_CONTENT, headers, EdgeBody::empty())
}

/// A small answer of our own.
fn fresh(body: EdgeBody, content_type: &'static str) -> Response<EdgeBody> {
    let mut headers = respond::cors();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    respond::answer(StatusCode::OK, headers, body)
}
