//! RFC 3339 in UTC to the millisecond, such as `2026-11-21T09:00:00.123Z`: how we write every instant, and how most
//! are sent. Each event carries four of them, so that reading and writing them is a good part of what it costs.

/// `2026-11-21T09:00:00.123Z`
const LENGTH: usize = 24;
const DAY_MS: i64 = 86_400_000;
/// Days from 0000-03-01, where the calendar's arithmetic begins, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// An instant as it is written.
pub(crate) struct Text([u8; LENGTH]);

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and marks are ASCII")
    }
}

/// An instant of 1970 to 9999.
pub(super) fn write(ms: i64) -> Text {
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS) as u32);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    two_digits(&mut text, 0, year as u32 / 100);
    two_digits(&mut text, 2, year as u32 % 100);
    two_digits(&mut text, 5, month as u32);
    two_digits(&mut text, 8, day as u32);
    let (second, ms) = (in_day / 1000, in_day % 1000);
    two_digits(&mut text, 11, second / 3600);
    two_digits(&mut text, 14, second / 60 % 60);
    two_digits(&mut text, 17, second % 60);
    text[20] = b'0' + (ms / 100) as u8;
    two_digits(&mut text, 21, ms % 100);
    Text(text)
}

/// Milliseconds since the epoch, from exactly the form that [`write`] writes; none for any other, which may be an
/// instant all the same.
pub(super) fn read(text: &str) -> Option<i64> {
    let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute) = (number(&text[11..13])?, number(&text[14..16])?);
    let (second, ms) = (number(&text[17..19])?, number(&text[20..23])?);
    // A 60th second is a leap second, which is for who knows of them.
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day);
    // A day that the month does not have comes out as another.
    let in_day = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    (date(days) == (year, month, day)).then_some(days * DAY_MS + in_day)
}

/// Of a number below 100.
fn two_digits(text: &mut [u8; LENGTH], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

fn number(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Year, month and day of a day of the epoch. Years are counted from March, so that a leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day of the epoch of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    fn chronos(ms: i64) -> String {
        DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    proptest! {
        #[test]
        fn writes_as_chrono_does_and_reads_it_back(ms in 0..253_402_300_800_000i64) {
            let text = write(ms);
            prop_assert_eq!(text.as_str(), &chronos(ms));
            prop_assert_eq!(read(text.as_str()), Some(ms));
        }

        /// What it reads at all, it reads as chrono does.
        #[test]
        fn reads_nothing_that_chrono_does_not(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z"
        ) {
            if let Some(ms) = read(&text) {
                prop_assert_eq!(DateTime::parse_from_rfc3339(&text).unwrap().timestamp_millis(), ms);
            } else if let Ok(at) = DateTime::parse_from_rfc3339(&text) {
                prop_assert!(text[17..19] == *"60", "{} is {}", text, at);
            }
        }
    }

    #[test]
    fn every_day_of_a_few_centuries() {
        for day in 0..100_000 {
            let ms = day * DAY_MS;
            assert_eq!(write(ms).as_str(), chronos(ms));
            assert_eq!(read(&chronos(ms)), Some(ms));
        }
    }

    #[test]
    fn other_forms_are_not_for_this() {
        for text in ["", "2026-11-21T09:00:00Z", "2026-11-21T09:00:00.123+01:00", "2026-02-30T00:00:00.000Z"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
