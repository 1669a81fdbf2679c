//! `Cache-Status` (RFC 9211): how the cache took part in an answer. Our member follows those of caches
//! before us; the key is not told.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wire::{EdgeId, Timestamp};

use crate::library::open::{Forward, How, OpenError};
use crate::object::Object;
use crate::origin::OriginError;
use crate::respond::ObjectFields;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What is known of one answer.
#[derive(Debug, Clone, Copy)]
pub struct CacheNote {
    pub how: How,
    /// Every byte of the answer is held.
    pub all_held: bool,
    /// Some are.
    pub some_held: bool,
    pub collapsed: bool,
}

impl Forward {
    fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// Appends the member of an answer made from an object.
pub fn of_object(fields: &mut ObjectFields, edge: &EdgeId, object: &Object, note: CacheNote, now: Timestamp) {
    let ttl = (object.head().life().fresh_until - now.as_millis()).div_euclid(1000);
    let (why, fwd, stored) = match note.how {
        How::Held | How::Stale | How::Behind if note.all_held => ("hit", "", false),
        How::Away if note.all_held => ("hit; detail=origin-away", "", false),
        How::Held | How::Stale | How::Behind | How::Away if note.some_held => ("fwd=", "partial", true),
        // Its head is known, nothing of its body.
        How::Held | How::Stale | How::Behind | How::Away => ("fwd=", "miss", true),
        How::Confirmed(why) => ("fwd=", why.word(), false),
        How::Cold(why) | How::Replaced(why) => ("fwd=", why.word(), true),
    };
    let fwd_status = if matches!(note.how, How::Confirmed(_)) { "; fwd-status=304" } else { "" };
    let stored = if stored { "; stored" } else { "" };
    let collapsed = if note.collapsed { "; collapsed" } else { "" };
    let mut member = fields.line(CACHE_STATUS.as_str());
    for piece in named(edge).into_iter().chain(["; ", why, fwd, fwd_status, stored, collapsed, "; ttl="]) {
        member.text(piece);
    }
    member.number(ttl);
}

/// The member of an answer that tells of no object.
pub fn of_failure(headers: &mut HeaderMap, edge: &EdgeId, error: &OpenError) {
    let how = match error {
        OpenError::KnownMissing => "hit; detail=missing",
        OpenError::NotFound => "fwd=uri-miss",
        // What the origin said, if anything, is not what is answered.
        OpenError::Origin(error) => match error {
            OriginError::Overloaded | OriginError::Busy => "detail=overloaded",
            OriginError::Away | OriginError::Abandoned => "detail=origin-away",
            OriginError::Upload => "fwd=method; detail=broken-body",
            OriginError::Timeout(_) => "fwd=miss; detail=origin-timeout",
            OriginError::Unreachable | OriginError::Unconfirmed => "fwd=miss; detail=origin-unreachable",
            OriginError::Changed => "fwd=miss; detail=origin-changed",
            OriginError::Status(_)
            | OriginError::Nonsense(_)
            | OriginError::Broken
            | OriginError::NoBucket
            | OriginError::TooLarge => "fwd=miss; detail=origin-failed",
        },
    };
    append(headers, format!("{}; {how}", named(edge).concat()));
}

/// The member of an answer to who wants what is held and nothing else, where that is not held.
pub fn of_not_held(headers: &mut HeaderMap, edge: &EdgeId) {
    append(headers, format!("{}; detail=not-held", named(edge).concat()));
}

/// Appends the member of an answer that is passed on as it came.
pub fn of_passed(headers: &mut HeaderMap, edge: &EdgeId, why: Forward, status: StatusCode) {
    append(headers, format!("{}; fwd={}; fwd-status={}", named(edge).concat(), why.word(), status.as_u16()));
}

fn append(headers: &mut HeaderMap, member: String) {
    if let Ok(value) = HeaderValue::try_from(member) {
        headers.append(CACHE_STATUS, value);
    }
}

/// An edge's id as a member of a list: no token begins with a digit (RFC 9651, section 3.3.4), a text may.
fn named(edge: &EdgeId) -> [&str; 3] {
    let quote = if edge.as_str().starts_with(|c: char| c.is_ascii_digit()) { "\"" } else { "" };
    [quote, edge.as_str(), quote]
}
