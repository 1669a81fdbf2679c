//! Response heads.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use service::Problem;
use wire::{EdgeId, Timestamp};

use crate::body::EdgeBody;
use crate::library::open::{How, OpenError};
use crate::object::Object;
use crate::origin::OriginError;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// What a player in a browser may read beyond the plain headers.
const EXPOSED: &str = "Content-Length, Content-Range, Accept-Ranges, ETag, Age, Cache-Status, Date";

/// What every answer carries for players in browsers: audio is public to any origin.
#[must_use]
pub fn cors() -> HeaderMap {
    HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        (TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ])
}

/// What every answer with or about an object carries.
#[must_use]
pub fn shared_head() -> HeaderMap {
    let mut head = cors();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head
}

/// How the cache took part in an answer.
#[derive(Debug, Clone, Copy)]
pub struct CacheNote {
    pub how: How,
    /// Every byte of the answer is held.
    pub all_held: bool,
    /// Some are.
    pub some_held: bool,
    pub collapsed: bool,
}

/// RFC 9211.
#[must_use]
pub fn cache_status(edge: &EdgeId, object: &Object, note: CacheNote, now: Timestamp) -> String {
    let ttl = (object.life().fresh_until - now.as_millis()).div_euclid(1000);
    let why = match (note.how, note.all_held) {
        (How::Held, true) => "hit",
        (How::Stale, true) => "hit; detail=origin-away",
        (How::Revalidated, true) => "fwd=stale; fwd-status=304",
        (How::Replaced | How::Revalidated, _) => "fwd=stale",
        _ if note.some_held => "fwd=partial",
        _ => "fwd=miss",
    };
    let stored = if object.storable && !note.all_held { "; stored" } else { "" };
    let collapsed = if note.collapsed { "; collapsed" } else { "" };
    format!("{edge}; {why}{stored}{collapsed}; ttl={ttl}")
}

/// The head of a 200, 206 or 304.
#[must_use]
pub fn head(object: &Object, now: Timestamp, cache_status: &str) -> HeaderMap {
    let mut headers = object.head.clone();
    let age = (now.as_millis() - object.life().born).max(0) / 1000;
    headers.insert(header::AGE, HeaderValue::from(age));
    if let Ok(value) = HeaderValue::try_from(cache_status) {
        headers.insert(CACHE_STATUS, value);
    }
    headers
}

#[must_use]
pub fn whole(headers: HeaderMap, body: EdgeBody) -> Response<EdgeBody> {
    answer(StatusCode::OK, headers, body)
}

#[must_use]
pub fn part(mut headers: HeaderMap, range: &Range<u64>, size: u64, body: EdgeBody) -> Response<EdgeBody> {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    insert_text(&mut headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    answer(StatusCode::PARTIAL_CONTENT, headers, body)
}

/// 304 carries what a 200 would, but for what describes its body.
#[must_use]
pub fn not_modified(mut headers: HeaderMap) -> Response<EdgeBody> {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_TYPE);
    answer(StatusCode::NOT_MODIFIED, headers, EdgeBody::empty())
}

#[must_use]
pub fn unsatisfiable(object: &Object) -> Response<EdgeBody> {
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut refusal = problem(&Problem::new(status, "range-not-satisfiable", "nothing of the object is in this range"));
    insert_text(refusal.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", object.size()));
    refusal
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    headers.insert(name, HeaderValue::try_from(text).expect("digits and ASCII make a header"));
}

/// A problem as this listener sends it.
#[must_use]
pub fn problem(problem: &Problem) -> Response<EdgeBody> {
    let mut headers = cors();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(problem.headers().iter().cloned());
    answer(problem.status, headers, EdgeBody::from(problem.to_json()))
}

/// The one place that maps what went wrong at the origin to a status.
#[must_use]
pub fn open_problem(error: &OpenError) -> Problem {
    let OpenError::Origin(origin) = error else { return Problem::not_found(error.to_string()) };
    let (status, kind) = match origin {
        OriginError::Busy | OriginError::Abandoned => return Problem::unavailable(origin.to_string(), 1),
        OriginError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "origin-timeout"),
        OriginError::Unreachable => (StatusCode::BAD_GATEWAY, "origin-unreachable"),
        OriginError::Changed => (StatusCode::BAD_GATEWAY, "origin-changed"),
        OriginError::Status(_) | OriginError::Nonsense(_) | OriginError::Broken | OriginError::TooLarge => {
            (StatusCode::BAD_GATEWAY, "origin-failed")
        }
    };
    Problem::new(status, kind, origin.to_string())
}

pub fn answer(status: StatusCode, headers: HeaderMap, body: EdgeBody) -> Response<EdgeBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
