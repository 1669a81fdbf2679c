//! Response heads.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::Guard;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use service::Problem;
use wire::Timestamp;

use crate::body::EdgeBody;
use crate::library::open::OpenError;
use crate::object::fields::Fields;
use crate::object::{self, Object};
use crate::origin::{OF_THE_CONTENT, OriginError};

pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
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

/// A response, with what of its head an object says.
pub type Head = (Response<EdgeBody>, Option<ObjectFields>);

/// `Server-Timing`: from the request's head to the answer's, and where the answer comes from.
#[must_use]
pub fn server_timing(source: &str, spent: Duration) -> String {
    format!("edge;desc={source};dur={:.3}", spent.as_secs_f64() * 1000.0)
}

/// What every answer with or about a bucket's object carries.
#[must_use]
pub fn shared_head() -> HeaderMap {
    let mut head = cors();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head
}

/// The fields of an answer made from an object, as they go out: those that are held, and what this answer says itself.
#[derive(Debug)]
pub struct ObjectFields {
    head: Arc<object::Head>,
    own: Vec<u8>,
}

/// What an object and an answer say themselves, mostly.
const OWN: usize = 320;

impl ObjectFields {
    /// All but the body's length and `Cache-Status`.
    #[must_use]
    pub fn new(object: &Object, now: Timestamp) -> Self {
        let head = Guard::into_inner(object.head());
        let mut fields = Self { head, own: Vec::with_capacity(OWN) };
        let dated = fields.head.write_own(&mut fields.own);
        let age = fields.head.life().age_s(now);
        fields.line("age").number(age);
        if !dated {
            fields.line("date").text(&httpdate::fmt_http_date(SystemTime::now()));
        }
        fields
    }

    /// A field, whose value is written to what this returns.
    pub fn line(&mut self, name: &str) -> Line<'_> {
        self.own.extend_from_slice(name.as_bytes());
        self.own.extend_from_slice(b": ");
        Line(&mut self.own)
    }

    pub fn tell(&mut self, name: &HeaderName, value: &HeaderValue) {
        service::http::field::line(&mut self.own, name.as_str(), value.as_bytes());
    }

    /// Leaves out what is said of the whole body's bytes: they are not all sent.
    fn leave_out_the_wholes(&mut self) {
        let is_one = |line: &[u8]| {
            OF_THE_CONTENT.iter().any(|of| line.strip_prefix(of.as_bytes()).is_some_and(|rest| rest.starts_with(b":")))
        };
        if self.own.split_inclusive(|&byte| byte == b'\n').any(is_one) {
            let kept: Vec<&[u8]> =
                self.own.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_one(line)).collect();
            self.own = kept.concat();
        }
    }

    /// As lines, in two pieces.
    #[must_use]
    pub fn lines(&self) -> [&[u8]; 2] {
        [self.head.common().as_bytes(), &self.own]
    }

    #[must_use]
    pub fn to_map(self) -> HeaderMap {
        let mut headers = self.head.common().to_map();
        Fields::of_lines(self.own).append_to(&mut headers);
        headers
    }
}

/// A field's value as it is written, of pieces that a field may have. Each hit has a few, and `format!` would be seen in
/// its profile.
#[derive(Debug)]
pub struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }
}

/// `size` is none where it is not known yet, and where the status has no body.
#[must_use]
pub fn whole(status: StatusCode, mut fields: ObjectFields, size: Option<u64>, body: EdgeBody) -> Head {
    if let Some(size) = size {
        fields.line("content-length").number(size);
    }
    (answer(status, HeaderMap::new(), body), Some(fields))
}

#[must_use]
pub fn part(mut fields: ObjectFields, range: &Range<u64>, size: u64, body: EdgeBody) -> Head {
    fields.leave_out_the_wholes();
    fields.line("content-length").number(range.end - range.start);
    let mut line = fields.line("content-range");
    line.text("bytes ").number(range.start).text("-").number(range.end - 1).text("/").number(size);
    drop(line);
    (answer(StatusCode::PARTIAL_CONTENT, HeaderMap::new(), body), Some(fields))
}

#[must_use]
pub fn parts(mut headers: HeaderMap, boundary: &str, length: u64, body: EdgeBody) -> Head {
    OF_THE_CONTENT.iter().for_each(|name| drop(headers.remove(*name)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    insert_text(&mut headers, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    (answer(StatusCode::PARTIAL_CONTENT, headers, body), None)
}

/// 304 carries what a 200 would, but for what describes its body.
#[must_use]
pub fn not_modified(fields: ObjectFields) -> Response<EdgeBody> {
    let mut headers = fields.to_map();
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
        OriginError::Away | OriginError::Busy | OriginError::Overloaded | OriginError::Abandoned => {
            return Problem::unavailable(origin.to_string(), 1);
        }
        OriginError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "origin-timeout"),
        // RFC 9111, section 5.2.2.2.
        OriginError::Unconfirmed => (StatusCode::GATEWAY_TIMEOUT, "origin-unreachable"),
        OriginError::Unreachable => (StatusCode::BAD_GATEWAY, "origin-unreachable"),
        OriginError::Changed => (StatusCode::BAD_GATEWAY, "origin-changed"),
        OriginError::Upload => (StatusCode::BAD_REQUEST, "broken-body"),
        OriginError::Status(_)
        | OriginError::Nonsense(_)
        | OriginError::Broken
        | OriginError::NoBucket
        | OriginError::TooLarge => (StatusCode::BAD_GATEWAY, "origin-failed"),
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
