//! The time that a question is about: whole hours or whole days, in UTC, and not too many of them.

use std::str::FromStr;

use wire::{FieldError, Timestamp};

use super::params::Params;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The steps of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Hour,
    Day,
}

impl Step {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }

    /// The most steps of one answer: a month of hours, and the thirteen months that raw events are kept.
    fn most(self) -> i64 {
        match self {
            Self::Hour => 31 * 24,
            Self::Day => 400,
        }
    }

    fn default_steps(self) -> i64 {
        match self {
            Self::Hour => 24,
            Self::Day => 30,
        }
    }
}

impl FromStr for Step {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            _ => Err("must be hour or day"),
        }
    }
}

/// From the start of one step to the end of another, `to` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) step: Step,
}

impl Range {
    /// `from`, `to` and `by`, widened to whole steps; up to now and a day or a month back where they are absent.
    ///
    /// # Errors
    /// Naming the parameter that is no time, or that makes the range empty or too long.
    pub(super) fn read(params: &Params<'_>, default_step: Step, now: Timestamp) -> Result<Self, FieldError> {
        let step = params.parsed("by")?.unwrap_or(default_step);
        let (from, to) = (params.instant("from")?, params.instant("to")?);
        let to = ceil(to.unwrap_or(now), step);
        let from = floor(from.unwrap_or_else(|| to.saturating_add_millis(-step.ms() * step.default_steps())), step);
        let steps = to.millis_since(from) / step.ms();
        if steps < 1 {
            return Err(FieldError::new("from", "must be before to"));
        }
        if steps > step.most() {
            let detail = format!("must be at most {} {}s before to, not {steps}", step.most(), step.as_str());
            return Err(FieldError::new("from", detail));
        }
        Ok(Self { from, to, step })
    }

    /// The first and the last UTC day that it touches, as ClickHouse reads them.
    pub(super) fn days(self) -> (String, String) {
        let day = |at: Timestamp| at.to_datetime().date_naive().to_string();
        (day(self.from), day(self.to.saturating_add_millis(-1)))
    }

    /// When each step begins.
    pub(super) fn steps(self) -> impl Iterator<Item = Timestamp> {
        let steps = self.to.millis_since(self.from) / self.step.ms();
        (0..steps).map(move |n| self.from.saturating_add_millis(n * self.step.ms()))
    }
}

fn floor(at: Timestamp, step: Step) -> Timestamp {
    at.saturating_add_millis(-at.as_millis().rem_euclid(step.ms()))
}

fn ceil(at: Timestamp, step: Step) -> Timestamp {
    let over = at.as_millis().rem_euclid(step.ms());
    if over == 0 { at } else { at.saturating_add_millis(step.ms() - over) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(String, String, Step), FieldError> {
        let uri = format!("/x?{query}").parse().unwrap();
        let params = Params::read(&uri, &["from", "to", "by"])?;
        let now = Timestamp::from_millis(1_795_251_600_000 + 60_000).unwrap();
        let range = Range::read(&params, Step::Hour, now)?;
        Ok((range.from.to_string(), range.to.to_string(), range.step))
    }

    #[test]
    fn ranges_are_whole_steps() {
        let is = |query: &str, from: &str, to: &str| {
            let read = read(query).unwrap();
            assert_eq!((read.0.as_str(), read.1.as_str()), (from, to), "{query}");
        };
        is("", "2026-11-20T10:00:00.000Z", "2026-11-21T10:00:00.000Z");
        is("by=day", "2026-10-23T00:00:00.000Z", "2026-11-22T00:00:00.000Z");
        is("from=2026-11-21T08:59:59Z&to=2026-11-21T09:00:00Z", "2026-11-21T08:00:00.000Z", "2026-11-21T09:00:00.000Z");
        is(
            "by=day&from=2026-11-01T12:00:00Z&to=2026-11-02T12:00:00Z",
            "2026-11-01T00:00:00.000Z",
            "2026-11-03T00:00:00.000Z",
        );
    }

    #[test]
    fn a_range_knows_its_days() {
        let at = |text: &str| serde_json::from_value(text.into()).unwrap();
        let range = |from, to| Range { from: at(from), to: at(to), step: Step::Hour }.days();
        let days = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(range("2026-11-20T23:00:00Z", "2026-11-21T00:00:00Z"), days("2026-11-20", "2026-11-20"));
        assert_eq!(range("2026-11-20T23:00:00Z", "2026-11-21T01:00:00Z"), days("2026-11-20", "2026-11-21"));
    }

    #[test]
    fn what_is_no_range_is_refused_by_its_field() {
        for query in [
            "from=2026-11-21T10:00:00Z&to=2026-11-21T09:00:00Z",
            "from=2026-10-01T00:00:00Z",
            "by=day&from=2020-01-01T00:00:00Z",
            "from=0",
            "from=2199-12-31T23:59:59Z",
        ] {
            assert_eq!(read(query).unwrap_err().field, "from", "{query}");
        }
        assert_eq!(read("by=week").unwrap_err().field, "by");
        assert_eq!(read("to=soon").unwrap_err().field, "to");
        // The last instants there are.
        assert_eq!(read("from=2199-12-31T23:00:00Z&to=2199-12-31T23:59:59Z").unwrap_err().field, "from");
    }
}
