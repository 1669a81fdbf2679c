//! The received hours that an audit speaks for.

use serde::Serialize;
use wire::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Raw rows live 13 months, the shortest of which have 396 days in all. The audit stops a week short of
/// the edge: rows there go part by part, and an event may have been received days before Kafka had it.
const KEPT_MS: i64 = 389 * DAY_MS;

/// From one whole hour of the server's clock to another, which is not included; open where none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hours {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no whole hour such as 2026-11-20T09:00:00Z, and no day such as 2026-11-20")]
pub struct NotAnHour(String);

/// An audit of these would find nothing wrong whatever was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no hour that is kept and has begun lies from {from} to {to}: nothing was judged")]
pub(super) struct NoHours {
    from: Timestamp,
    to: Timestamp,
}

impl Hours {
    /// # Errors
    /// [`NotAnHour`]
    pub fn parse(text: &str) -> Result<Timestamp, NotAnHour> {
        let whole = if text.len() == "2026-11-20".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let parsed: Result<Timestamp, _> = serde_json::from_value(serde_json::Value::String(whole));
        parsed.ok().filter(|time| time.as_millis() % HOUR_MS == 0).ok_or_else(|| NotAnHour(text.to_owned()))
    }

    /// Not before what ClickHouse keeps.
    ///
    /// # Errors
    /// [`NoHours`] where nothing is left, or the two ends were swapped, or are yet to come.
    pub(super) fn within_retention(self, now: Timestamp) -> Result<Self, NoHours> {
        let kept = now.saturating_add_millis(-KEPT_MS);
        let oldest = kept.saturating_add_millis(-(kept.as_millis() % HOUR_MS));
        let from = self.from.map_or(oldest, |from| from.max(oldest));
        let to = self.to.map_or(now, |to| to.min(now));
        if from >= to { Err(NoHours { from, to }) } else { Ok(Self { from: Some(from), to: self.to }) }
    }

    pub(super) fn first_ms(self) -> i64 {
        self.from.map_or(0, Timestamp::as_millis)
    }

    /// The condition on a column of time.
    pub(super) fn sql(self, column: &str) -> String {
        let time = |time: Timestamp| format!("fromUnixTimestamp64Milli({}, 'UTC')", time.as_millis());
        let from = self.from.map(|from| format!("{column} >= {}", time(from)));
        let to = self.to.map(|to| format!("{column} < {}", time(to)));
        let both: Vec<String> = from.into_iter().chain(to).collect();
        if both.is_empty() { "1".into() } else { both.join(" AND ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_hours_and_days_are_taken() {
        let day = Hours::parse("2026-11-20").unwrap();
        assert_eq!(Hours::parse("2026-11-20T00:00:00Z").unwrap(), day);
        assert_eq!(Hours::parse("2026-11-20T02:00:00+01:00").unwrap(), day.saturating_add_millis(HOUR_MS));
        for text in ["2026-11-20T09:30:00Z", "yesterday", "", "2026-13-01", "2026-11-20T09"] {
            assert_eq!(Hours::parse(text), Err(NotAnHour(text.into())));
        }
    }

    #[test]
    fn what_has_expired_is_not_asked_for() {
        let now = Hours::parse("2026-11-20T09:00:00Z").unwrap().saturating_add_millis(1234);
        let open = Hours::default().within_retention(now).unwrap();
        assert_eq!(open.from.map(|from| from.to_string()).as_deref(), Some("2025-10-27T09:00:00.000Z"));
        let hour = |text| Some(Hours::parse(text).unwrap());
        let recent = Hours { from: hour("2026-11-20T09:00:00Z"), to: hour("2026-11-20T11:00:00Z") };
        assert_eq!(recent.within_retention(now), Ok(recent));
    }

    #[test]
    fn where_nothing_can_be_judged_is_told() {
        let now = Hours::parse("2026-11-20T09:00:00Z").unwrap().saturating_add_millis(1234);
        for (from, to) in [
            (Some("2026-11-20T08:00:00Z"), Some("2026-11-20T07:00:00Z")),
            (Some("2026-11-20T08:00:00Z"), Some("2026-11-20T08:00:00Z")),
            (Some("2100-01-01"), None),
            (Some("2100-01-01"), Some("2100-01-02")),
            (None, Some("1990-01-01")),
        ] {
            let hour = |text: Option<&str>| text.map(|text| Hours::parse(text).unwrap());
            let hours = Hours { from: hour(from), to: hour(to) };
            assert!(hours.within_retention(now).is_err(), "{from:?} to {to:?}");
        }
    }
}
