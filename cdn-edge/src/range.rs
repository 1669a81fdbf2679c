//! The `Range` header (RFC 9110, section 14): what was asked for, and what of it an object has.

use std::ops::Range;

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

impl RangeSpec {
    /// None where the header is to be ignored: another unit, bad syntax, or several ranges, which
    /// RFC 9110 lets a server answer with the whole object.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let (unit, set) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
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
        RangeSpec::parse(header.as_bytes()).map_or(Selected::Whole, |spec| spec.select(size))
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
            "bytes=1-2,4-5",
            "items=0-1",
            "bytes=1 -2",
            "bytes=--1",
            "bytes=0x1-2",
        ] {
            assert_eq!(select(header, 10), Selected::Whole, "{header}");
        }
    }
}
