//! `GET /v1/objects/{key}`: what is held of an object, how fresh it is, and where it came from.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, header};
use serde::Serialize;
use service::Problem;
use service::problem::fresh_json;
use wire::{EdgeId, FieldError, Timestamp};

use super::Admin;
use crate::cache::Cache;
use crate::freshness::Life;
use crate::object::{CHUNK, Object};
use crate::purge;
use crate::vary::Selectors;

/// Runs of bytes that are told of one place: what is held of a long object may be in very many pieces.
const RUNS: usize = 1000;

#[derive(Debug, Serialize)]
struct HeldKey {
    key: String,
    /// The first of them.
    #[serde(flatten)]
    first: Held,
    /// Answers that are held under the key.
    variants: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Held>,
}

/// One answer.
#[derive(Debug, Serialize)]
struct Held {
    status: u16,
    /// Null as long as an answer without its length is under way.
    bytes: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
    tags: Vec<String>,
    /// What a request must have to get it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    selectors: Selectors,
    chunks: usize,
    chunks_in_memory: usize,
    chunks_on_disk: usize,
    /// First and last byte of each run.
    memory: Vec<(u64, u64)>,
    disk: Vec<(u64, u64)>,
    /// Requests to the origin that are bringing more of it.
    fills: usize,
    #[serde(flatten)]
    freshness: Freshness,
    /// The edge or the cache that gave it, or `origin`.
    filled_by: String,
    /// When it came, or was last confirmed.
    filled_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Freshness {
    state: Freshly,
    age_s: i64,
    lifetime_s: i64,
    fresh_until: Option<Timestamp>,
    /// Until when it may be served stale, while the origin is asked and while it fails; null where it may not.
    stale_while_revalidate_until: Option<Timestamp>,
    stale_if_error_until: Option<Timestamp>,
    /// When a soft purge made it stale.
    purged_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Freshly {
    Fresh,
    Stale,
    /// Stale by a soft purge.
    Purged,
}

pub(super) async fn held(State(admin): State<Admin>, Path(key): Path<String>) -> Result<Response, Problem> {
    let library = &admin.library;
    let named = library.names().keys(&key).map_err(|detail| FieldError::new("path", detail))?;
    let variants = named.iter().find_map(|named| library.held_under(&named.as_ref().as_ref()));
    let variants = variants.ok_or_else(|| Problem::not_found("the edge does not hold this object"))?;
    let now = Timestamp::now();
    let told: Vec<Held> = variants.as_slice().iter().map(|object| tell(&library.cache, object, now)).collect();
    let (variants, mut told) = (told.len(), told.into_iter());
    let first = told.next().ok_or_else(|| Problem::not_found("the edge does not hold this object"))?;
    Ok(fresh_json(HeldKey { key, first, variants, others: told.collect() }))
}

fn tell(cache: &Cache, object: &Arc<Object>, now: Timestamp) -> Held {
    let head = object.head();
    let headers = head.headers();
    let text = |name| headers.get(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let in_memory: Vec<_> =
        object.reached_chunks().filter_map(|chunk| Some((chunk, cache.in_memory(object, chunk)?))).collect();
    let on_disk: Vec<u32> = object.reached_chunks().filter(|chunk| object.on_disk(*chunk).is_some()).collect();
    let start = |chunk: u32| u64::from(chunk) * CHUNK;
    Held {
        status: head.status.as_u16(),
        bytes: object.size(),
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
        tags: purge::tags(&headers).map(str::to_owned).collect(),
        selectors: object.selectors().clone(),
        chunks: object.reached_chunks().count(),
        chunks_in_memory: in_memory.len(),
        chunks_on_disk: on_disk.len(),
        memory: runs(
            in_memory.iter().map(|(chunk, part)| (start(*chunk) + u64::from(part.start), start(*chunk) + part.end())),
        ),
        disk: runs(on_disk.iter().map(|chunk| (start(*chunk), start(*chunk) + object.chunk_len(*chunk)))),
        fills: object.running_fills().len(),
        freshness: freshness(&head.life(), now),
        filled_by: filled_by(object.filled_by(), &headers),
        filled_at: Timestamp::from_millis(head.life().came),
    }
}

fn freshness(life: &Life, now: Timestamp) -> Freshness {
    let state = match (life.is_fresh(now), life.purged_at) {
        (true, _) => Freshly::Fresh,
        (false, None) => Freshly::Stale,
        (false, Some(_)) => Freshly::Purged,
    };
    let until = |window: i64| Timestamp::from_millis(life.fresh_until.saturating_add(window));
    let stale = |window: Option<i64>| window.filter(|window| life.stale_allowed && *window > 0).and_then(until);
    Freshness {
        state,
        age_s: life.age_s(now),
        lifetime_s: (life.fresh_until - life.born).max(0) / 1000,
        fresh_until: until(0),
        stale_while_revalidate_until: stale(Some(life.while_revalidate)),
        stale_if_error_until: stale(life.if_error),
        purged_at: life.purged_at.and_then(Timestamp::from_millis),
    }
}

/// An edge of the fleet; else the nearest cache that the answer has come through, which says so last
/// (RFC 9211, section 2); else the origin.
fn filled_by(edge: Option<&EdgeId>, headers: &HeaderMap) -> String {
    let mut members = headers.get_all("cache-status").iter().filter_map(|value| value.to_str().ok());
    let last =
        members.next_back().and_then(|value| value.rsplit(',').next()).and_then(|member| member.split(';').next());
    let cache = last.map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty());
    edge.map(EdgeId::as_str).or(cache).unwrap_or("origin").to_owned()
}

/// Neighbours together, as first and last byte.
fn runs(pieces: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (start, end) in pieces.filter(|(start, end)| start < end) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == start => *last = end - 1,
            _ => runs.push((start, end - 1)),
        }
    }
    runs.truncate(RUNS);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        assert_eq!(runs([(0, 10), (10, 20), (25, 30), (30, 30)].into_iter()), [(0, 19), (25, 29)]);
        assert_eq!(runs((0..5000).map(|n| (2 * n, 2 * n + 1))).len(), RUNS);
    }

    #[test]
    fn rfc9211_2_the_nearest_cache_comes_last() {
        let by = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("cache-status", value.parse().unwrap());
            }
            filled_by(None, &headers)
        };
        assert_eq!(by(&[]), "origin");
        assert_eq!(by(&["far; hit, fra-2; fwd=uri-miss; stored", "\"near\"; hit; ttl=5"]), "near");
        assert_eq!(by(&["far; hit, fra-2; fwd=uri-miss"]), "fra-2");
    }
}
