//! An answer over HTTP: how old it is stands in its body and, as RFC 9111 and RFC 9211 have it, in its headers.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use wire::Timestamp;

use super::answers::{Answer, How};
use super::store::Trouble;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// 200 with the answer, or 304 where the client has it.
pub(super) fn respond(answer: &Answer, fresh_for: Duration, asked: &HeaderMap) -> Response {
    let etag = etag(&answer.kept.data);
    let mut response = if has(asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let stale = matches!(answer.how, How::Stale(_));
        let body = body(answer.kept.as_of, stale, &answer.kept.data);
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let age = answer.kept.age().as_secs();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, text(&etag));
    headers.insert(header::AGE, age.into());
    // For one client alone: who may see it, its key says.
    headers.insert(header::CACHE_CONTROL, text(&format!("private, max-age={}", fresh_for.as_secs())));
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.insert(CACHE_STATUS, text(&cache_status(&answer.how, fresh_for.as_secs(), age)));
    response
}

/// A JSON object with two members before its own: `as_of` and `stale`.
pub(super) fn body(as_of: Timestamp, stale: bool, object: &[u8]) -> Vec<u8> {
    let mut body = format!("{{\"as_of\":\"{as_of}\",\"stale\":{stale},").into_bytes();
    body.extend_from_slice(object.strip_prefix(b"{").unwrap_or_default());
    body
}

/// Weak, for `as_of` and `stale` change while the figures do not.
fn etag(data: &[u8]) -> String {
    let digest: String = Sha256::digest(data)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{digest}\"")
}

/// `If-None-Match`, compared weakly.
fn has(asked: &HeaderMap, etag: &str) -> bool {
    let strong = etag.trim_start_matches("W/");
    let listed = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == strong)
}

fn cache_status(how: &How, fresh_s: u64, age: u64) -> String {
    let ttl = i64::try_from(fresh_s).unwrap_or(i64::MAX).saturating_sub_unsigned(age);
    match how {
        How::Hit => format!("tonearm-stats; hit; ttl={ttl}"),
        How::Asked => format!("tonearm-stats; fwd=miss; stored; ttl={ttl}"),
        How::Stale(trouble) => format!("tonearm-stats; hit; ttl={ttl}; detail={}", word(trouble)),
    }
}

fn word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Busy => "busy",
        Trouble::Slow => "clickhouse-slow",
        Trouble::Failed(_) => "clickhouse-away",
    }
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, words and quotes only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_it_says_so_in_many_ways() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            has(&headers, "W/\"ab\"")
        };
        for yes in ["W/\"ab\"", "\"ab\"", "*", "\"x\", W/\"ab\""] {
            assert!(asked(yes), "{yes}");
        }
        assert!(!asked("\"abc\"") && !asked("ab") && !has(&HeaderMap::new(), "W/\"ab\""));
    }

    #[test]
    fn a_stale_answer_has_no_time_left() {
        assert_eq!(cache_status(&How::Hit, 10, 3), "tonearm-stats; hit; ttl=7");
        assert_eq!(
            cache_status(&How::Stale(Trouble::Slow), 10, 25),
            "tonearm-stats; hit; ttl=-15; detail=clickhouse-slow"
        );
    }
}
