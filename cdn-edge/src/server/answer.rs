//! From a request's head to its response: ours, an object's, or the origin's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use service::Problem;
use wire::token::Refusal;
use wire::{FieldError, ObjectKey, Timestamp};

use super::Shared;
use super::clients::Place;
use super::counters::Counters;
use super::gate;
use super::meter::{Framing, Meter};
use super::tcp::Tcp;
use crate::body::EdgeBody;
use crate::delivery::cmcd;
use crate::delivery::transcript::{Arrival, Transcript};
use crate::directives::RequestDirectives;
use crate::interim::{Interim, Interims};
use crate::key::{KeyRef, without_default_port};
use crate::origin::upload::Upload;
use crate::range::Ranges;
use crate::respond::ObjectFields;
use crate::seal::EDGE;
use crate::{cmsd, forward, request, respond};

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Answers the requests of one connection.
#[derive(Debug)]
pub struct Answerer {
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub client: IpAddr,
    /// None where nothing limits the client.
    pub place: Option<Arc<Place>>,
    /// What TCP knows of the connection, once there is one.
    pub tcp: Option<Arc<Tcp>>,
    /// The connection is TLS.
    pub https: bool,
    /// None where interim answers cannot be sent.
    pub interims: Option<Interims>,
}

/// What is answered.
#[derive(Debug)]
pub struct Answered {
    pub response: Response<EdgeBody>,
    /// Where it is made from an object, its fields: the response itself has none then.
    pub fields: Option<ObjectFields>,
    /// Where it is about what an origin has.
    pub transcript: Option<Arc<Transcript>>,
}

impl Answered {
    #[must_use]
    pub fn with(response: Response<EdgeBody>, transcript: Arc<Transcript>) -> Self {
        Self { response, fields: None, transcript: Some(transcript) }
    }

    /// As hyper takes it.
    #[must_use]
    pub fn into_parts(self) -> (Response<EdgeBody>, Option<Arc<Transcript>>) {
        let Self { mut response, fields, transcript } = self;
        if let Some(fields) = fields {
            *response.headers_mut() = fields.to_map();
        }
        (response, transcript)
    }

    /// Says these as well, where it is the object's answer.
    pub(super) fn tell(&mut self, own: &HeaderMap) {
        let status = self.response.status();
        match &mut self.fields {
            Some(fields) => own.iter().for_each(|(name, value)| fields.tell(name, value)),
            None if status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NOT_MODIFIED => {
                let own = own.iter().map(|(name, value)| (name.clone(), value.clone()));
                self.response.headers_mut().extend(own);
            }
            None => {}
        }
    }

    /// Puts a field behind those that there are.
    fn say(&mut self, name: HeaderName, value: &str) {
        match (&mut self.fields, HeaderValue::try_from(value)) {
            (Some(fields), Ok(_)) => {
                fields.line(name.as_str()).text(value);
            }
            (None, Ok(value)) => drop(self.response.headers_mut().append(name, value)),
            (_, Err(_)) => {}
        }
    }
}

impl From<Response<EdgeBody>> for Answered {
    fn from(response: Response<EdgeBody>) -> Self {
        Self { response, fields: None, transcript: None }
    }
}

/// Host, and path with query.
type Target<'a> = (Cow<'a, str>, Cow<'a, str>);

/// What a read asks for.
pub(super) struct Wanted<'a> {
    pub(super) head: &'a Parts,
    pub(super) key: KeyRef<'a>,
    pub(super) ranges: Option<Ranges>,
    pub(super) asked: RequestDirectives,
    pub(super) arrival: Arrival,
}

impl Answerer {
    /// Answers on a connection whose meter follows what is written.
    pub async fn answer_metered(&self, request: Request<Incoming>, meter: &Meter) -> Response<EdgeBody> {
        let (is_head, version) = (request.method() == Method::HEAD, request.version());
        let (mut head, body) = request.into_parts();
        let (response, transcript) = self.answer(&mut head, Upload::of(body)).await.into_parts();
        meter.expect(framing(is_head, version, &response), transcript);
        response
    }

    pub async fn answer(&self, head: &mut Parts, body: Upload) -> Answered {
        self.counters.requests.fetch_add(1, Relaxed);
        if let Some(own) = self.own(head).or_else(|| self.over_the_rate(head)) {
            return own.into();
        }
        let asker = self.asking_edge(head);
        let internal = asker.is_some();
        if let (Some(asker), Some(shield)) = (asker, &self.shared.library.origin.shield)
            && shield.is_parent(asker)
        {
            // Each would wait for what the other asks of it.
            tracing::warn!(edge.id = asker, "a parent of ours has us for its parent");
            return respond::problem(&respond::looped()).into();
        }
        if let Some(gate) = &self.shared.gate
            && !internal
            && let Err(refusal) = gate.admit(head, Timestamp::now())
        {
            return self.refuse(refusal).into();
        }
        let mut answered = match self.shared.library.origin.is_web() {
            true => self.web(head, body, internal).await,
            false => self.bucket(head, internal).await,
        };
        if internal {
            // Another edge's fill: its listeners' deliveries are its to tell.
            answered.transcript = None;
        }
        if let Some(transcript) = &answered.transcript {
            self.shared.deliveries.note(transcript);
        }
        if self.shared.server_timing
            && let Some(transcript) = &answered.transcript
        {
            let spent = (transcript.begun.elapsed(), transcript.cache_status().as_str());
            let timing = respond::server_timing(spent.1, spent.0);
            answered.say(respond::SERVER_TIMING, &timing);
        }
        if self.shared.cmsd
            && cmcd::is_told(head.uri.query(), &head.headers)
            && let Some(tcp) = self.tcp.as_ref().and_then(|tcp| tcp.last())
        {
            answered.say(cmsd::DYNAMIC, &cmsd::dynamic(&self.shared.edge, &tcp));
        }
        answered
    }

    /// Where what an origin says before its answer goes.
    pub(super) fn interim(&self) -> Option<Interim> {
        self.interims.as_ref().map(Interims::of_request)
    }

    /// The client asks faster than it may. Another edge asks for many.
    fn over_the_rate(&self, head: &Parts) -> Option<Response<EdgeBody>> {
        let wait = self.place.as_ref()?.request(Instant::now()).err()?;
        if self.asking_edge(head).is_some() {
            return None;
        }
        self.shared.library.metrics.refused_requests.increment(1);
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "the client asks too often");
        let seconds = wait.as_secs() + 1;
        Some(respond::problem(&problem.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))))
    }

    /// More is under way than this edge can serve.
    pub(super) fn too_busy(&self) -> Response<EdgeBody> {
        self.shared.library.metrics.refused_overload.increment(1);
        respond::problem(&Problem::unavailable("more requests are under way than this edge serves at a time", 1))
    }

    fn refuse(&self, refusal: Refusal) -> Response<EdgeBody> {
        self.shared.library.metrics.refused_url(&self.shared.edge, refusal.kind());
        respond::problem(&Problem::new(StatusCode::FORBIDDEN, refusal.kind(), refusal.to_string()))
    }

    /// The edge of our fleet whose request it is.
    fn asking_edge<'a>(&self, head: &'a Parts) -> Option<&'a str> {
        let seal = self.shared.seal.as_ref().filter(|_| head.headers.contains_key(EDGE))?;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        seal.edge(&head.headers, target, Timestamp::now())
    }

    /// It says that it is of our fleet, and is not by what we know.
    fn is_stranger(&self, head: &Parts) -> bool {
        self.shared.seal.is_some() && head.headers.contains_key(EDGE) && self.asking_edge(head).is_none()
    }

    /// What is under our own path.
    fn own(&self, head: &Parts) -> Option<Response<EdgeBody>> {
        let path = head.uri.path().strip_prefix("/.tonearm/")?;
        Some(match (&head.method, path) {
            (&Method::OPTIONS, "ping" | "test.chunk") => preflight(),
            (&(Method::GET | Method::HEAD), "ping") if self.is_stranger(head) => respond::problem(&stranger()),
            (&(Method::GET | Method::HEAD), "ping") => pong(),
            (&(Method::GET | Method::HEAD), "test.chunk") => self.test_chunk(),
            _ => return None,
        })
    }

    fn test_chunk(&self) -> Response<EdgeBody> {
        let Ok(permit) = self.shared.test_chunks.clone().try_acquire_owned() else {
            return respond::problem(&Problem::unavailable("too many test chunks are under way", 1));
        };
        fresh(EdgeBody::Limited(Some(self.shared.test_chunk.clone()), permit), "application/octet-stream")
    }

    /// Objects of a bucket are only read here.
    async fn bucket(&self, head: &Parts, internal: bool) -> Answered {
        match head.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return preflight().into(),
            _ => return method_not_allowed().into(),
        }
        let text = match request::key_text(&head.uri) {
            Ok(text) => text,
            Err(error) => return respond::problem(&error.into()).into(),
        };
        let wanted = self.wanted(head, KeyRef::object(&text), internal);
        if let Some(opened) = self.find(&wanted) {
            return self.held(&wanted, opened).await;
        }
        if wanted.asked.only_if_cached {
            return self.not_held(&wanted);
        }
        // Asked only where the cache does not know it: what is held has a valid one.
        match ObjectKey::new(&*text) {
            Ok(_) => Box::pin(self.open_and_answer(&wanted)).await,
            Err(error) => respond::problem(&FieldError::new("path", error.to_string()).into()).into(),
        }
    }

    /// Reads come from the cache where they may; everything else is the origin's to answer.
    async fn web(&self, head: &Parts, body: Upload, internal: bool) -> Answered {
        let (host, target) = match self.target(head) {
            Ok(target) => target,
            Err(refusal) => return (*refusal).into(),
        };
        let https = if internal { forward::was_https(&head.headers) } else { self.https };
        let host = without_default_port(&host, https);
        let wanted = self.wanted(head, KeyRef { https, host, target: &target }, internal);
        // Behind a gate nothing reaches the origin without a token, and this method needs none.
        let is_ours = self.shared.gate.is_some() || self.shared.cors && is_preflight(head);
        if head.method == Method::OPTIONS && is_ours {
            return preflight().into();
        }
        if forward::has_foreign_coding(&head.headers) {
            return foreign_coding().into();
        }
        // A body is no part of the key, so a read with one is not for others (RFC 9110, section 9.3.1).
        if !matches!(head.method, Method::GET | Method::HEAD) || !body.is_none() {
            return Box::pin(self.pass(&wanted, body)).await;
        }
        if let Some(opened) = self.find(&wanted) {
            return self.held(&wanted, opened).await;
        }
        if wanted.asked.only_if_cached {
            return self.not_held(&wanted);
        }
        match head.method {
            Method::HEAD => Box::pin(self.pass(&wanted, body)).await,
            _ => Box::pin(self.open_and_answer(&wanted)).await,
        }
    }

    fn target<'a>(&self, head: &'a Parts) -> Result<Target<'a>, Box<Response<EdgeBody>>> {
        let refused = |error: FieldError| Box::new(respond::problem(&error.into()));
        let host = service::http::host(&head.uri, &head.headers, head.version).map_err(refused)?;
        match head.method {
            Method::CONNECT => return Err(Box::new(not_a_tunnel())),
            // RFC 9112, section 3.2: a host alone is for tunnels, and other schemes are no gateway's.
            _ if head.uri.authority().is_some() && !matches!(head.uri.scheme_str(), Some("http" | "https")) => {
                return Err(refused(FieldError::new("path", "must be a path, or an http or https URI")));
            }
            Method::OPTIONS | Method::TRACE if self.ends_here(head) => {
                let answer = if head.method == Method::OPTIONS { preflight() } else { method_not_allowed() };
                return Err(Box::new(answer));
            }
            _ => {}
        }
        Ok((host, request::target(&head.uri, !self.shared.public)))
    }

    /// RFC 9110, section 7.6.2; and `OPTIONS *` is about the server that it reaches.
    fn ends_here(&self, head: &Parts) -> bool {
        head.uri.path() == "*" || head.headers.get(header::MAX_FORWARDS).is_some_and(|left| left == "0")
    }

    fn wanted<'a>(&self, head: &'a Parts, key: KeyRef<'a>, internal: bool) -> Wanted<'a> {
        let is_head = head.method == Method::HEAD;
        // Two of a field that is no list mean nothing (RFC 9110, section 5.3).
        let mut ranges = head.headers.get_all(header::RANGE).iter();
        let range = ranges.next().filter(|_| !is_head && ranges.next().is_none());
        // In a fleet a reload by one listener is no reason to ask the origin.
        let heeded = self.shared.public || internal;
        let asked = if heeded { RequestDirectives::of(&head.headers) } else { RequestDirectives::default() };
        let arrival = Arrival {
            begun: Instant::now(),
            started_at: Timestamp::now(),
            decision_id: request::decision_id(&head.uri).or_else(|| gate::decision(head)),
            head: is_head,
            client: self.client,
            cmcd: self.shared.deliveries.wanted().then(|| cmcd::of(head.uri.query(), &head.headers)).flatten(),
        };
        Wanted { head, key, ranges: range.and_then(|range| Ranges::parse(range.as_bytes())), asked, arrival }
    }
}

/// How the body of a response ends on the wire.
pub(super) fn framing(is_head: bool, version: Version, response: &Response<EdgeBody>) -> Framing {
    let status = response.status();
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational();
    if is_head || bodiless {
        return Framing::Length(0);
    }
    match response.body().size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if version == Version::HTTP_10 => Framing::Close,
        None => Framing::Chunked,
    }
}

/// A browser asks whether a script may read: for reads it is told by us, as a bucket's objects are.
fn is_preflight(head: &Parts) -> bool {
    let asked = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && asked.is_some_and(|method| method == "GET" || method == "HEAD")
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

fn not_a_tunnel() -> Response<EdgeBody> {
    let status = StatusCode::NOT_IMPLEMENTED;
    respond::problem(&Problem::new(status, "not-implemented", "this is a gateway and makes no tunnels"))
}

/// RFC 9112, section 6.1.
fn foreign_coding() -> Response<EdgeBody> {
    let status = StatusCode::NOT_IMPLEMENTED;
    respond::problem(&Problem::new(status, "not-implemented", "of the transfer codings, only chunked is taken, once"))
}

fn stranger() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "unknown-edge", "the edge that asks is not known by its signature")
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
