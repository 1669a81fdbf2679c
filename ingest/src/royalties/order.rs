//! Which day may be closed. Pure.

use chrono::{Days, NaiveDate};

use super::CORRECTED_DAYS;

/// What to do about a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is closed.
    Done,
    /// Close it, and pay what came late for days from `from` on.
    Close { from: NaiveDate },
}

/// Why a day is not closed, or not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{day} is not over; by ClickHouse's clock it is {today} (UTC)")]
    NotOver { day: NaiveDate, today: NaiveDate },
    #[error("{day} lies before {first}, the first day that was closed")]
    BeforeTheFirst { day: NaiveDate, first: NaiveDate },
    #[error("days are closed in order: close {next} before {day}")]
    OutOfOrder { day: NaiveDate, next: NaiveDate },
    #[error("{day} is not closed")]
    NotClosed { day: NaiveDate },
}

/// `closed` in ascending order.
pub(super) fn step(day: NaiveDate, today: NaiveDate, closed: &[NaiveDate]) -> Result<Step, Refusal> {
    if closed.contains(&day) {
        return Ok(Step::Done);
    }
    if day >= today {
        return Err(Refusal::NotOver { day, today });
    }
    let (Some(&first), Some(&last)) = (closed.first(), closed.last()) else { return Ok(Step::Close { from: day }) };
    let next = last.succ_opt().unwrap_or(last);
    if day < first {
        return Err(Refusal::BeforeTheFirst { day, first });
    }
    if day != next {
        return Err(Refusal::OutOfOrder { day, next });
    }
    let oldest = day.checked_sub_days(Days::new(CORRECTED_DAYS.into())).unwrap_or(first);
    Ok(Step::Close { from: first.max(oldest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn november(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    #[test]
    fn the_first_day_is_free_and_the_others_follow() {
        let today = november(21);
        assert_eq!(step(november(18), today, &[]), Ok(Step::Close { from: november(18) }));
        let closed = [november(18), november(19)];
        assert_eq!(step(november(20), today, &closed), Ok(Step::Close { from: november(18) }));
        assert_eq!(step(november(19), today, &closed), Ok(Step::Done));
        let (day, next, first) = (november(20), november(19), november(18));
        assert_eq!(step(day, today, &closed[..1]), Err(Refusal::OutOfOrder { day, next }));
        let day = november(17);
        assert_eq!(step(day, today, &closed), Err(Refusal::BeforeTheFirst { day, first }));
    }

    #[test]
    fn a_day_that_is_not_over_is_refused() {
        let today = november(21);
        for day in [today, november(22)] {
            assert_eq!(step(day, today, &[november(20)]), Err(Refusal::NotOver { day, today }));
        }
    }

    #[test]
    fn corrections_end_with_their_season() {
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let closed: Vec<NaiveDate> = first.iter_days().take(200).collect();
        let day = *closed.last().unwrap() + Days::new(1);
        let Ok(Step::Close { from }) = step(day, november(1), &closed) else { panic!("it may be closed") };
        assert_eq!(day - from, chrono::TimeDelta::days(CORRECTED_DAYS.into()));
    }
}
