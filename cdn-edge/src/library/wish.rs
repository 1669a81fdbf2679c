//! A request as the library and the origin see it, made only where the origin is to be asked.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::aligned;
use crate::directives::RequestDirectives;
use crate::fill::run::RUN;
use crate::interim::Interim;
use crate::key::CacheKey;
use crate::loops::CDN_LOOP;
use crate::object::CHUNK;
use crate::origin::range_value;
use crate::purge::Asking;
use crate::range::{RangeSpec, Ranges};

#[derive(Debug, Clone)]
pub struct Wish {
    pub key: Arc<CacheKey>,
    /// As a web origin gets them; for a bucket those alone that say whose hands the request went through.
    pub headers: HeaderMap,
    pub wants: Wants,
    pub asked: RequestDirectives,
    /// As of which change of what is held: see [`super::Library::changes`].
    pub since: u64,
    /// As of which purge.
    pub asking: Asking,
    /// The client to whom interim answers go.
    pub interim: Option<Interim>,
}

/// What of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    Whole,
    Part(RangeSpec),
    /// None of it, but a bucket is asked for its first chunk, which somebody will want.
    Head,
}

pub(crate) const CONDITIONS: [HeaderName; 5] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];

impl Wish {
    #[must_use]
    pub fn range(&self) -> Option<RangeSpec> {
        if let Wants::Part(range) = self.wants { Some(range) } else { None }
    }

    /// The bytes of an object of this size that are asked for, where they are one piece.
    #[must_use]
    pub fn only_range(&self, size: u64) -> Option<Range<u64>> {
        let asked = self.headers.get(header::RANGE)?;
        let mut parts = Ranges::parse(asked.as_bytes())?.select(size);
        parts.pop().filter(|_| parts.is_empty())
    }

    /// What a bucket is asked for an object that nobody knows: whole chunks, one run at most.
    #[must_use]
    pub fn cold_bucket(&self) -> HeaderMap {
        let wanted = match self.wants {
            Wants::Whole => 0..u64::MAX,
            Wants::Part(RangeSpec::From { first, last }) => first..last.map_or(u64::MAX, |last| last.saturating_add(1)),
            // Where a suffix begins nobody knows yet, so the first chunk stands for it.
            Wants::Part(RangeSpec::Suffix(_)) | Wants::Head => 0..CHUNK,
        };
        let mut headers = self.trail();
        headers.insert(header::RANGE, range_value(&aligned(&wanted, RUN)));
        headers
    }

    /// What a web origin is asked for what nobody knows: the request as it came, a range of it widened to
    /// whole chunks. Conditions stay: whoever has the newest version need not be sent it.
    #[must_use]
    pub fn cold_web(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(header::IF_RANGE);
        headers.remove(header::RANGE);
        if let Some(range) = self.widened() {
            headers.insert(header::RANGE, range);
        }
        headers
    }

    /// The request as one that has nothing yet would make it.
    #[must_use]
    pub fn without_conditions(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
        headers
    }

    /// The request without its conditions and range, to which ours are put.
    #[must_use]
    pub fn unconditional(&self) -> HeaderMap {
        let mut headers = self.without_conditions();
        headers.remove(header::RANGE);
        headers
    }

    /// Whose hands the request went through.
    fn trail(&self) -> HeaderMap {
        let passed = self.headers.get_all(CDN_LOOP).iter();
        passed.map(|value| (CDN_LOOP, value.clone())).collect()
    }

    fn widened(&self) -> Option<HeaderValue> {
        Some(match self.range()? {
            RangeSpec::From { first, last: Some(last) } => {
                range_value(&aligned(&(first..last.saturating_add(1)), u32::MAX / 2))
            }
            RangeSpec::From { first, last: None } => range_value(&(first / CHUNK * CHUNK..u64::MAX)),
            RangeSpec::Suffix(n) => HeaderValue::try_from(format!("bytes=-{n}")).expect("digits make a header"),
        })
    }

    /// Exactly the range that the client asked for, for an answer that is its alone.
    #[must_use]
    pub fn exact(&self) -> HeaderMap {
        let range = self.range().map(|range| (header::RANGE, range.value()));
        HeaderMap::from_iter(range)
    }
}
