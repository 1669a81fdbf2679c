//! All answers that this edge can serve: those it holds and those it can get from the origin.

pub mod fetch;
pub mod names;
pub mod open;
mod openings;
pub mod purge;
pub mod update;
pub mod wish;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::runtime::Handle;
use wire::{EdgeId, Timestamp};

use crate::cache::Cache;
use crate::directives::{RequestDirectives, ResponseDirectives};
use crate::fill::run::Source;
use crate::forward::Gateway;
use crate::freshness::{self, Life, Policy};
use crate::key::{CacheKey, KeyRef};
use crate::metrics::Metrics;
use crate::object::{CHUNK, Object};
use crate::origin::{Answer, Ask, OriginError, Upstream, range_value};
use crate::purge::Asking;
use crate::range::RangeSpec;
use crate::reuse::{Reuse, reuse};
use crate::version;
use open::{How, Opened};
use openings::Openings;
use wish::{Wants, Wish};

/// Keys remembered as missing; a crawler of missing ones pushes its own out.
const MISSING_KEYS: u64 = 10_000;

/// Keys that were changed by an unsafe method a moment ago, for as long as an answer that is older
/// than that may be on its way.
const CHANGED_KEYS: u64 = 100_000;
const CHANGED_TTL: Duration = Duration::from_secs(120);

/// Keys whose answers may not be shared, and how long that is remembered: their crowds do not queue up
/// behind one request, which would be of no use to them.
const PASSING_KEYS: u64 = 10_000;
const PASSING_TTL: Duration = Duration::from_secs(10);

/// What is the same for all objects.
#[derive(Debug)]
pub struct Rules {
    /// For answers of which the origin says nothing; none where only the origin decides.
    pub default_ttl: Option<Duration>,
    pub negative_ttl: Duration,
    pub max_object: u64,
    /// What every object's answers carry unless the origin said otherwise.
    pub shared_head: HeaderMap,
    pub gateway: Gateway,
    /// Objects are described to players.
    pub cmsd: bool,
    /// Clients are served over TLS.
    pub https: bool,
}

/// Whose requests do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    All,
    /// Those with `Authorization`: others' answers may be shared.
    Authorized,
    /// Those for what is held: it is to be confirmed for each.
    Confirmed,
}

#[derive(Debug)]
pub struct Library {
    pub cache: Arc<Cache>,
    pub origin: Upstream,
    pub metrics: Arc<Metrics>,
    /// Where fills run: the serving threads do nothing but serve.
    pub background: Handle,
    pub max_object: u64,
    pub gateway: Gateway,
    openings: Arc<Openings>,
    /// As of which purge.
    missing: moka::sync::Cache<Arc<CacheKey>, u64>,
    passing: moka::sync::Cache<Arc<CacheKey>, Passing>,
    /// Which change each of these keys had last.
    changed: moka::sync::Cache<Arc<CacheKey>, u64>,
    changes: AtomicU64,
    /// When anything was last purged.
    purged_ms: AtomicI64,
    /// Fills that are running.
    pub fills: AtomicUsize,
    default_ttl: Option<Duration>,
    negative_ttl: Duration,
    shared_head: HeaderMap,
    cmsd: bool,
    https: bool,
}

impl Library {
    #[must_use]
    pub fn new(cache: Arc<Cache>, origin: Upstream, metrics: Arc<Metrics>, background: Handle, rules: Rules) -> Self {
        let Rules { default_ttl, negative_ttl, max_object, shared_head, gateway, cmsd, https } = rules;
        Self {
            cache,
            origin,
            metrics,
            background,
            max_object,
            gateway,
            openings: Arc::default(),
            missing: remembered(MISSING_KEYS, negative_ttl),
            passing: remembered(PASSING_KEYS, PASSING_TTL),
            changed: remembered(CHANGED_KEYS, CHANGED_TTL),
            changes: AtomicU64::new(0),
            purged_ms: AtomicI64::new(i64::MIN),
            fills: AtomicUsize::new(0),
            default_ttl,
            negative_ttl,
            shared_head,
            cmsd,
            https,
        }
    }

    /// The answer, where it may be served without waiting for the origin.
    #[must_use]
    pub fn find(
        &self,
        key: &KeyRef<'_>,
        request: &HeaderMap,
        asked: &RequestDirectives,
        range: Option<RangeSpec>,
        now: Timestamp,
    ) -> Option<Opened> {
        let object = self.cache.get(key)?.select(request)?;
        let mut head = object.head();
        if !head.has_seen(self.cache.purges.latest()) {
            if !self.look_at_purges(&object) {
                return None;
            }
            head = object.head();
        }
        if !object.combinable && !self.has_all(&object, range) {
            return None;
        }
        let how = match reuse(&head.life(), now, asked) {
            Reuse::Fresh => How::Held,
            Reuse::Stale => How::Stale,
            Reuse::WhileRevalidate => How::Behind,
            Reuse::Ask if head.is_excused(now) => How::Away,
            Reuse::Ask | Reuse::AskForClient => return None,
        };
        drop(head);
        Some(Opened { object, how, collapsed: false, hold: None, own: None })
    }

    /// Whether it is known that the answer will be for this request alone.
    fn is_passing(&self, wish: &Wish) -> bool {
        match self.passing.get(&wish.key) {
            Some(Passing::All) => true,
            Some(Passing::Authorized) => wish.headers.contains_key(header::AUTHORIZATION),
            Some(Passing::Confirmed) => self.held_for(&wish.key.as_ref().as_ref(), &wish.headers).is_some(),
            None => false,
        }
    }

    /// Whether all that is asked for of an object is held or on its way: nothing more can be fetched of one
    /// whose parts cannot be put together.
    fn has_all(&self, object: &Arc<Object>, range: Option<RangeSpec>) -> bool {
        if object.size().is_none() && object.is_brought(0) {
            return true;
        }
        let Some(size) = object.size() else { return false };
        let Some(range) = range.map_or(Some(0..size), |range| range.select(size).part()) else { return true };
        let mut pieces = crate::cache::pieces(&range);
        pieces.all(|(chunk, from, to)| object.is_brought(chunk) || self.cache.holds_part(object, chunk, from, to))
    }

    /// Waits until no fill runs.
    pub async fn fills_ended(&self) {
        while self.fills.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What we ask for by ourselves.
    #[must_use]
    pub fn own_wish(&self, key: Arc<CacheKey>, wants: Wants) -> Wish {
        let headers = match self.origin.is_web() {
            true => self.gateway.own(&key.as_ref().as_ref(), &Vec::new()),
            false => HeaderMap::new(),
        };
        Wish {
            key,
            headers,
            wants,
            asked: RequestDirectives::default(),
            since: self.changes(),
            asking: self.ask(),
            interim: None,
        }
    }

    /// How often anything that is held was changed by an unsafe method: whoever asks the origin remembers it, for an
    /// answer that was made before a change must not be held after it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Asks other edges or the origin what there is under a key. Other edges must not tell what they have held
    /// since before a change that we know of, or it would be held here for new.
    async fn ask_upstream(&self, ask: Ask) -> Result<Answer, OriginError> {
        let since_purge = Timestamp::now().as_millis().saturating_sub(self.purged_ms.load(Relaxed));
        let window = i64::try_from(CHANGED_TTL.as_millis()).expect("minutes");
        let renew = since_purge < window || self.changed.contains_key(&ask.key);
        self.origin.ask(Ask { renew, ..ask }).await
    }

    fn note_change(&self, key: &Arc<CacheKey>) {
        let change = self.changes.fetch_add(1, SeqCst) + 1;
        self.changed.insert(key.clone(), change);
    }

    /// Forgets that the origin had no such object.
    pub fn forget_missing(&self, key: &Arc<CacheKey>) {
        self.missing.invalidate(key);
    }

    fn policy(&self, status: StatusCode, headers: &HeaderMap, said: &ResponseDirectives) -> Policy {
        let default_ttl = self.default_ttl.and_then(|ttl| match status.as_u16() {
            200 | 203 | 206 => Some(ttl),
            404 | 410 => Some(self.negative_ttl),
            _ => None,
        });
        freshness::policy(status, headers, said, Timestamp::now(), default_ttl)
    }

    fn life(policy: Policy, headers: &HeaderMap, delay: Duration, asking: &Asking) -> Life {
        Life::new(policy, headers, Timestamp::now(), delay, asking.since())
    }

    /// Asks for bytes of a known version, and of no other, as the client would who wants them; but not the edges that
    /// were `lost` over it.
    ///
    /// # Errors
    /// [`OriginError::Changed`] where it has another one now.
    pub async fn ask_for_part(
        &self,
        object: &Object,
        range: Range<u64>,
        asking: Option<&HeaderMap>,
        lost: &[EdgeId],
    ) -> Result<Source, OriginError> {
        let size = object.size().ok_or(OriginError::Changed)?;
        let headers = self.part_headers(object, &range, size, asking);
        let answer = self.origin.ask(Ask { lost: lost.to_vec(), ..Ask::get(object.key().to_key(), headers) }).await?;
        let held = object.head().headers();
        match (answer.status, &answer.part) {
            (StatusCode::PARTIAL_CONTENT, Some(part)) => {
                let contains = part.bytes.start <= range.start && part.bytes.end > range.start;
                if part.size != size || version::denies(&held, &answer.headers) {
                    return Err(OriginError::Changed);
                }
                if !contains {
                    return Err(OriginError::Nonsense("another part than the one asked for"));
                }
                Ok(crate::fill::run::source(answer))
            }
            (StatusCode::PARTIAL_CONTENT, None) => {
                Err(OriginError::Nonsense("a part without a readable Content-Range"))
            }
            (StatusCode::OK, _) if answer.length == Some(size) && version::same(&held, &answer.headers) => {
                object.found_to_ignore_ranges();
                Ok(crate::fill::run::source(answer))
            }
            (StatusCode::NOT_MODIFIED, _) => Err(OriginError::Nonsense("304 to a question without If-None-Match")),
            (StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::GONE, _)
            | (StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE, _) => Err(OriginError::Changed),
            (status, _) => Err(OriginError::Status(status.as_u16())),
        }
    }

    fn part_headers(&self, object: &Object, range: &Range<u64>, size: u64, asking: Option<&HeaderMap>) -> HeaderMap {
        let head = object.head();
        let mut headers = HeaderMap::new();
        let mut end = range.end.min(size);
        if self.origin.is_web() {
            headers = asking.cloned().unwrap_or_else(|| self.gateway.own(&object.key(), object.selectors()));
            if let Some(validator) = version::strong(&head.headers()) {
                headers.insert(header::IF_RANGE, validator.value().clone());
            }
            if end == size {
                end = u64::MAX;
            }
        } else if let Some(etag) = head.etag().filter(|etag| !etag.as_bytes().starts_with(b"W/")) {
            // A weak tag never matches strongly; the comparison of the answer has to do.
            headers.insert(header::IF_MATCH, etag);
        }
        headers.insert(header::RANGE, range_value(&(range.start..end)));
        headers
    }
}

/// What a usual key takes of memory, with its place.
const KEY_BYTES: u64 = 256;

/// So many keys, and fewer where clients make long ones.
fn remembered<T: Clone + Send + Sync + 'static>(keys: u64, ttl: Duration) -> moka::sync::Cache<Arc<CacheKey>, T> {
    let bytes = |key: &Arc<CacheKey>, _: &T| {
        let text = key.host().len() + key.target().len();
        u32::try_from(text).unwrap_or(u32::MAX).saturating_add(128)
    };
    moka::sync::Cache::builder().max_capacity(keys * KEY_BYTES).weigher(bytes).time_to_live(ttl).build()
}

/// The run of whole chunks around the bytes that are wanted; absurd offsets end at the last chunk
/// that a number can name.
fn aligned(wanted: &Range<u64>, most: u32) -> Range<u64> {
    let last = u32::MAX - most - 1;
    let first = u32::try_from(wanted.start / CHUNK).unwrap_or(last).min(last);
    let end = u32::try_from(wanted.end.div_ceil(CHUNK)).unwrap_or(last);
    u64::from(first) * CHUNK..u64::from(end.clamp(first + 1, first + most)) * CHUNK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::run::RUN;

    #[test]
    fn asks_for_whole_chunks() {
        for (wanted, run) in [
            (0..1, 0..1),
            (CHUNK - 1..CHUNK + 1, 0..2),
            (3 * CHUNK..4 * CHUNK, 3..4),
            (5 * CHUNK..u64::MAX, 5..5 + u64::from(RUN)),
        ] {
            assert_eq!(aligned(&wanted, RUN), run.start * CHUNK..run.end * CHUNK, "{wanted:?}");
        }
        assert!(!aligned(&(u64::MAX - 1..u64::MAX), RUN).is_empty());
    }
}
