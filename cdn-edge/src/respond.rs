//! Response heads.

use std::ops::Range;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use service::Problem;
use wire::Timestamp;

use crate::body::EdgeBody;
use crate::library::open::OpenError;
use crate::object::Object;
use crate::origin::OriginError;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// What a player in a browser may read beyond the plain headers.
const EXPOSED: &str = "Content-Length, Content-Range, Accept-Ranges, ETag, Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Date, Server-Timing";

/// What every answer carries for players in browsers: audio is public to any origin.
#[must_use]
pub fn cors() -> HeaderMap {
    HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        (TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ])
}

/// `Server-Timing`: from the request's head to the answer's, and where the answer comes from.
pub fn server_timing(headers: &mut HeaderMap, source: &str, spent: Duration) {
    let text = format!("edge;desc={source};dur={:.3}", spent.as_secs_f64() * 1000.0);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append(SERVER_TIMING, value);
    }
}

/// What every answer with or about a bucket's object carries.
#[must_use]
pub fn shared_head() -> HeaderMap {
    let mut head = cors();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head
}

/// The head of an answer made from an object, but for its body's length and `Cache-Status`.
#[must_use]
pub fn head(object: &Object, now: Timestamp) -> HeaderMap {
    let head = object.head();
    let mut headers = head.headers.clone();
    headers.insert(header::AGE, HeaderValue::from(head.life.age_s(now)));
    headers
}

/// `size` is none where it is not known yet, and where the status has no body.
#[must_use]
pub fn whole(status: StatusCode, mut headers: HeaderMap, size: Option<u64>, body: EdgeBody) -> Response<EdgeBody> {
    if let Some(size) = size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    answer(status, headers, body)
}

#[must_use]
pub fn part(mut headers: HeaderMap, range: &Range<u64>, size: u64, body: EdgeBody) -> Response<EdgeBody> {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    insert_text(&mut headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    answer(StatusCode::PARTIAL_CONTENT, headers, body)
}

#[must_use]
pub fn parts(mut headers: HeaderMap, boundary: &str, length: u64, body: EdgeBody) -> Response<EdgeBody> {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    insert_text(&mut headers, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    answer(StatusCode::PARTIAL_CONTENT, headers, body)
}

/// 304 carries what a 200 would, but for what describes its body.
#[must_use]
pub fn not_modified(mut headers: HeaderMap) -> Response<EdgeBody> {
    headers.remove(header::CONTENT_TYPE);
    answer(StatusCode::NOT_MODIFIED, headers, EdgeBody::empty())
}

#[must_use]
pub fn unsatisfiable(size: u64) -> Response<EdgeBody> {
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut refusal = problem(&Problem::new(status, "range-not-satisfiable", "nothing of the object is in this range"));
    insert_text(refusal.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
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
        OriginError::Busy | OriginError::Overloaded | OriginError::Abandoned => {
            return Problem::unavailable(origin.to_string(), 1);
        }
        OriginError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "origin-timeout"),
        // RFC 9111, section 5.2.2.2.
        OriginError::Unconfirmed => (StatusCode::GATEWAY_TIMEOUT, "origin-unreachable"),
        OriginError::Unreachable => (StatusCode::BAD_GATEWAY, "origin-unreachable"),
        OriginError::Changed => (StatusCode::BAD_GATEWAY, "origin-changed"),
        OriginError::Status(_) | OriginError::Nonsense(_) | OriginError::Broken | OriginError::TooLarge => {
            (StatusCode::BAD_GATEWAY, "origin-failed")
        }
    };
    Problem::new(status, kind, origin.to_string())
}

/// RFC 8586: the request has been here before.
#[must_use]
pub fn looped() -> Problem {
    Problem::new(StatusCode::LOOP_DETECTED, "loop-detected", "the request has come back to where it was passed on")
}

/// The origin has said something that no client could make anything of.
#[must_use]
pub fn senseless() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "origin-failed", "the origin's answer makes no sense here")
}

pub fn answer(status: StatusCode, headers: HeaderMap, body: EdgeBody) -> Response<EdgeBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
