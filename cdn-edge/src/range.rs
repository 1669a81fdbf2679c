//! The `Range` header (RFC 9110, section 14): what was asked for, and what of it an object has.

use std::ops::Range;

use http::HeaderValue;

/// Ranges in one request; with more the header is ignored (section 14.2 allows it, for they only waste).
const MAX_RANGES: usize = 32;

/// Two parts with less between them cost less as one.
const GAP: u64 = 80;

/// One range as it was written, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-last`, both included; `first-` has no last.
    From { first: u64, last: Option<u64> },
    /// `-n`: the last n bytes.
    Suffix(u64),
}

/// What a request gets of an object of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

impl Selected {
    #[must_use]
    pub fn part(self) -> Option<Range<u64>> {
        if let Self::Part(part) = self { Some(part) } else { None }
    }
}

/// The `Range` header as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    One(RangeSpec),
    Several(Vec<RangeSpec>),
}

impl Ranges {
    /// None where the header is to be ignored: another unit, bad syntax, or too many ranges.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let (unit, set) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        if !set.contains(',') {
            return RangeSpec::parse(set.trim()).map(Self::One);
        }
        let specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let specs: Vec<_> = specs.take(MAX_RANGES + 1).map(RangeSpec::parse).collect::<Option<_>>()?;
        match specs[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => (specs.len() <= MAX_RANGES).then_some(Self::Several(specs)),
        }
    }

    /// The one that is asked for first.
    #[must_use]
    pub fn first(&self) -> RangeSpec {
        match self {
            Self::One(spec) => *spec,
            Self::Several(specs) => specs[0],
        }
    }

    /// The parts of an object of `size` in the order in which they lie, those that touch as one; none of
    /// them where nothing can be satisfied.
    #[must_use]
    pub fn select(&self, size: u64) -> Vec<Range<u64>> {
        let specs = match self {
            Self::One(spec) => std::slice::from_ref(spec),
            Self::Several(specs) => specs,
        };
        let mut parts: Vec<_> = specs.iter().filter_map(|spec| spec.select(size).part()).collect();
        parts.sort_unstable_by_key(|part| part.start);
        parts.dedup_by(|next, before| {
            let near = next.start <= before.end.saturating_add(GAP);
            if near {
                before.end = before.end.max(next.end);
            }
            near
        });
        parts
    }
}

impl RangeSpec {
    fn parse(spec: &str) -> Option<Self> {
        let (first, last) = spec.split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Suffix(number(last)?)),
            (false, true) => Some(Self::From { first: number(first)?, last: None }),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// As a request carries it.
    #[must_use]
    pub fn value(self) -> HeaderValue {
        let text = match self {
            Self::From { first, last: Some(last) } => format!("bytes={first}-{last}"),
            Self::From { first, last: None } => format!("bytes={first}-"),
            Self::Suffix(n) => format!("bytes=-{n}"),
        };
        HeaderValue::try_from(text).expect("digits and ASCII make a header")
    }

    /// The bytes of an object of `size`.
    #[must_use]
    pub fn select(self, size: u64) -> Selected {
        let range = match self {
            Self::From { first, last } => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Suffix(n) => size.saturating_sub(n)..size,
        };
        if range.start < range.end { Selected::Part(range) } else { Selected::Unsatisfiable }
    }
}

/// Digits alone; a number past 64 bits is past every object too.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(header: &str, size: u64) -> Selected {
        Ranges::parse(header.as_bytes()).map_or(Selected::Whole, |ranges| ranges.first().select(size))
    }

    #[test]
    fn selects_what_the_object_has() {
        for (header, size, wanted) in [
            ("bytes=0-0", 10, Selected::Part(0..1)),
            ("bytes=2-", 10, Selected::Part(2..10)),
            ("bytes=2-99", 10, Selected::Part(2..10)),
            ("bytes=-3", 10, Selected::Part(7..10)),
            ("bytes=-30", 10, Selected::Part(0..10)),
            ("Bytes = 1-2", 10, Selected::Part(1..3)),
            ("bytes=0-18446744073709551615", 10, Selected::Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, Selected::Part(0..10)),
            ("bytes=10-", 10, Selected::Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Selected::Unsatisfiable),
            ("bytes=-0", 10, Selected::Unsatisfiable),
            ("bytes=0-", 0, Selected::Unsatisfiable),
        ] {
            assert_eq!(select(header, size), wanted, "{header} of {size}");
        }
    }

    #[test]
    fn ignores_what_is_no_single_byte_range() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=1-2,x",
            "bytes=,",
            "items=0-1",
            "bytes=1 -2",
            "bytes=--1",
            "bytes=0x1-2",
        ] {
            assert_eq!(select(header, 10), Selected::Whole, "{header}");
        }
    }

    #[test]
    fn rfc9110_14_2_several_ranges() {
        let select = |header: &str, size| {
            let pairs =
                |ranges: Ranges| ranges.select(size).iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
            Ranges::parse(header.as_bytes()).map(pairs)
        };
        for (header, wanted) in [
            ("bytes=0-1, 500-501", Some(vec![(0, 2), (500, 502)])),
            ("bytes=500-501,0-1", Some(vec![(0, 2), (500, 502)])),
            ("bytes=0-9,5-300", Some(vec![(0, 301)])),
            ("bytes=0-0,,-1", Some(vec![(0, 1), (999, 1000)])),
            ("bytes=0-1,40-50", Some(vec![(0, 51)])),
            ("bytes=5000-,0-1", Some(vec![(0, 2)])),
            ("bytes=5000-,6000-", Some(vec![])),
        ] {
            assert_eq!(select(header, 1000), wanted, "{header}");
        }
        let many = |n: usize| format!("bytes={}", vec!["0-0"; n].join(","));
        assert_eq!((select(&many(32), 9), select(&many(33), 9)), (Some(vec![(0, 1)]), None));
    }
}
