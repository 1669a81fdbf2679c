//! Fields that an origin or a player sends: lifetimes, what answers vary by, tags, conditions, CMCD.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sfv::{BareItem, List, ListEntry, Parser};
use wire::{EdgeId, Timestamp};

use super::header_lines;
use crate::conditions::{Validators, evaluate, range_holds};
use crate::delivery::cmcd;
use crate::directives::{RequestDirectives, ResponseDirectives};
use crate::freshness::{Life, date, policy};
use crate::library::open::Forward;
use crate::object::Description;
use crate::reuse::{Reuse, reuse};
use crate::server::tcp::TcpInfo;
use crate::storable::{Asked, NotStored, storable};
use crate::{cache_status, cmsd, purge, vary};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Header lines, read as an answer's and as a request's.
pub fn fields(data: &[u8]) {
    let headers = header_lines(data);
    let now = Timestamp::from_millis(1_795_251_600_000).expect("in range");
    for status in [StatusCode::OK, StatusCode::NOT_MODIFIED, StatusCode::FOUND, StatusCode::BAD_GATEWAY] {
        lifetime(status, &headers, now);
    }
    varies(&headers);
    appended(&headers);
    assert!(purge::tags(&headers).all(|tag| !tag.is_empty() && tag.trim() == tag));
    let validators = Validators {
        etag: headers.get(header::ETAG).map(HeaderValue::as_bytes),
        last_modified: date(&headers, header::LAST_MODIFIED),
    };
    let _ =
        (evaluate(&headers, validators, || date(&headers, header::DATE)), range_holds(&headers, validators, || true));
    let description = Description::new(StatusCode::OK, Some(7), &headers, Vec::new());
    let text = serde_json::to_vec(&description).expect("texts and numbers are written to memory");
    let back: Description = serde_json::from_slice(&text).expect("what the index log writes it reads");
    assert_eq!(back.header_map(), headers);
}

fn lifetime(status: StatusCode, headers: &HeaderMap, now: Timestamp) {
    let said = ResponseDirectives::of(headers);
    let allowed = policy(status, headers, &said, now, None);
    let life = Life::new(allowed, headers, now, Duration::from_millis(1), 0);
    assert!(allowed.lifetime <= YEAR && life.born <= now.as_millis() && life.born <= life.fresh_until);
    assert!(allowed.stale_allowed || !(life.may_wait(now) || life.may_stand_in(now, false)));
    assert!(!allowed.ask_always || !life.is_fresh(now));
    let asked = Asked { method: &Method::GET, authorization: false, no_store: false };
    let verdict = storable(asked, status, headers, &said, &allowed);
    assert!(verdict.is_err() || !said.no_store || said.must_understand);
    assert!(verdict.is_err() || !said.private.is_all());
    for more in [Asked { authorization: true, ..asked }, Asked { no_store: true, ..asked }] {
        assert!(verdict.is_ok() || storable(more, status, headers, &said, &allowed).is_err(), "{more:?} allows more");
    }
    stricter(headers, &said, status, now);
    let wanted = RequestDirectives::of(headers);
    match reuse(&life, now, &wanted) {
        Reuse::Fresh => assert!(life.is_fresh(now) && !wanted.no_cache),
        Reuse::Stale | Reuse::WhileRevalidate => assert!(life.stale_allowed && !life.is_fresh(now) && !wanted.no_cache),
        Reuse::Ask | Reuse::AskForClient => {}
    }
}

/// One more line of `Cache-Control` never makes an answer last longer; a targeted field stands in for all of them.
fn stricter(headers: &HeaderMap, said: &ResponseDirectives, status: StatusCode, now: Timestamp) {
    let with = |line| {
        let mut headers = headers.clone();
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
        let said = ResponseDirectives::of(&headers);
        let allowed = policy(status, &headers, &said, now, None);
        let asked = Asked { method: &Method::GET, authorization: false, no_store: false };
        (storable(asked, status, &headers, &said, &allowed), said)
    };
    let (verdict, no_store) = with("no-store");
    assert_eq!(no_store.targeted, said.targeted);
    assert!(said.targeted || verdict.is_err() || said.must_understand, "no-store was passed over");
    let (_, short) = with("max-age=0");
    assert!(said.targeted || short.max_age == Some(0));
    assert!(
        said.targeted || matches!(with("private").0, Err(NotStored::Private | NotStored::NoStore | NotStored::Status))
    );
}

/// An answer is found again by the request that brought it, by its own selectors, and only by what is the same.
fn varies(headers: &HeaderMap) {
    if !vary::is_storable(headers) {
        return;
    }
    let selectors = vary::selectors(headers, headers);
    assert!(vary::matches(&selectors, headers));
    let mut own = HeaderMap::new();
    for (name, value) in &selectors {
        let Some(value) = value else { continue };
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = HeaderValue::from_bytes(&bytes.expect("a character is a byte")).expect("it came in a header");
        own.insert(HeaderName::try_from(name).expect("it was a header's name"), value);
    }
    assert!(vary::matches(&selectors, &own), "{selectors:?} is not what asks for it");
    assert_eq!(vary::secondary(&selectors, headers), vary::secondary(&selectors, &own));
}

/// Our members follow those of others, and whoever could read the list still can.
fn appended(headers: &HeaderMap) {
    for (name, id) in [("cache-status", "fra-1"), ("cache-status", "1-fra"), ("cmsd-dynamic", "9")] {
        let (edge, name) = (EdgeId::new(id).expect("a slug"), HeaderName::from_static(name));
        let before = list(headers, &name);
        let mut with = headers.clone();
        if name == "cmsd-dynamic" {
            let tcp = TcpInfo { rtt_us: u32::MAX, retransmits: 0, delivery_rate: u64::MAX };
            with.append(cmsd::DYNAMIC, cmsd::dynamic(&edge, &tcp).parse().expect("it can stand in a header"));
        } else {
            cache_status::of_passed(&mut with, &edge, Forward::Bypass, StatusCode::OK);
        }
        let Some(before) = before else { continue };
        let after = list(&with, &name).expect("a list with one more member is a list");
        assert_eq!(after.len(), before.len() + 1);
        let Some(ListEntry::Item(ours)) = after.last() else { panic!("the last member is ours") };
        let told = match &ours.bare_item {
            BareItem::Token(token) => token.as_str(),
            BareItem::String(text) => text.as_str(),
            other => panic!("{other:?} names no cache"),
        };
        assert_eq!(told, id);
    }
}

/// An empty one where there is no such field, none where it cannot be read.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<List> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    // An empty line would leave a comma without a member before it.
    if values.iter().any(|value| value.is_empty()) {
        return None;
    }
    Parser::new(&values.join(&b", "[..])).parse().ok()
}

/// A query, then header lines: what a player says of itself, in its bounds.
pub fn telemetry(data: &[u8]) {
    let (query, lines) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let (query, headers) = (String::from_utf8_lossy(query), header_lines(lines));
    for query in [None, Some(&*query)] {
        let Some(text) = cmcd::of(query, &headers) else { continue };
        assert!(cmcd::is_told(query, &headers) && text.len() <= 2048);
        let keys = cmcd::keys(&text);
        assert!(keys.len() <= 32 && keys.values().all(|value| value.len() <= 256));
        assert!(["nor", "nrr", "url"].iter().all(|left_out| !keys.contains_key(*left_out)));
    }
}
