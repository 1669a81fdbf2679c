//! When an event happened, of which the player's clock and ours each tell a part.
//!
//! A player stamps an event when it happens (`client_ts`) and a batch when it is sent (`sent_at`). The second
//! against our clock at its arrival is how far the player's clock is off, the time on the way included; the
//! first, put right by that, is when it happened, however long it was kept offline in between. Two things
//! hold whatever the player says: nothing happens after it was received, and nothing happened before 2000,
//! when a device's clock had never been set. An event that breaks one is put at its arrival.
//!
//! `skew_ms` is always what was added to `client_ts`, so that the player's own word can be had back; over a
//! day of it is what analysts see as `clock_suspect`.
//!
//! `played_ms` is not judged here. It is cumulative for a play, and the time that has passed since the play
//! began is known to whoever sees its first event, not to ingest, which sees one; nor is a track's duration a
//! bound, since listeners seek back. The view `plays` has all events of a play and believes no more than
//! passed between the first and the last.

use wire::Timestamp;

/// 2000-01-01T00:00:00Z.
const EARLIEST_MS: i64 = 946_684_800_000;

/// An event's time by our clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrected {
    pub(crate) event_ts: Timestamp,
    /// What was added to the player's time.
    pub(crate) skew_ms: i64,
}

pub(crate) fn correct(client_ts: Timestamp, sent_at: Option<Timestamp>, received_at: Timestamp) -> Corrected {
    let at_arrival = received_at.millis_since(client_ts);
    // Without `sent_at` nothing tells a slow clock from an event kept offline: the player's word stands.
    let skew_ms = sent_at.map_or(0, |sent_at| received_at.millis_since(sent_at)).min(at_arrival);
    let event_ts = client_ts.saturating_add_millis(skew_ms);
    if event_ts.as_millis() < EARLIEST_MS {
        return Corrected { event_ts: received_at, skew_ms: at_arrival };
    }
    Corrected { event_ts, skew_ms }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECEIVED: &str = "2026-11-21T09:00:10Z";
    const DAY_MS: i64 = 86_400_000;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    fn corrected(client_ts: &str, sent_at: Option<&str>) -> (Timestamp, i64) {
        let Corrected { event_ts, skew_ms } = correct(at(client_ts), sent_at.map(at), at(RECEIVED));
        (event_ts, skew_ms)
    }

    #[test]
    fn a_clock_that_is_wrong_is_put_right_by_the_time_of_sending() {
        let slow = corrected("2026-11-21T08:00:00Z", Some("2026-11-21T08:00:08Z"));
        assert_eq!(slow, (at("2026-11-21T09:00:02Z"), 3_602_000));
        let fast = corrected("2031-01-01T00:00:00Z", Some("2031-01-01T00:00:08Z"));
        assert_eq!(fast.0, at("2026-11-21T09:00:02Z"));
        assert!(fast.1 < -DAY_MS);
        let never_set = corrected("1970-01-01T00:05:00Z", Some("1970-01-01T00:06:00Z"));
        assert_eq!(never_set.0, at("2026-11-21T08:59:10Z"));
        assert!(never_set.1 > DAY_MS);
    }

    #[test]
    fn an_event_kept_offline_for_weeks_stays_when_it_happened() {
        let kept = corrected("2026-10-01T12:00:00Z", Some("2026-11-21T09:00:09Z"));
        assert_eq!(kept, (at("2026-10-01T12:00:01Z"), 1000));
        assert_eq!(corrected("2026-10-01T12:00:00Z", None), (at("2026-10-01T12:00:00Z"), 0));
    }

    #[test]
    fn nothing_happens_after_it_was_received() {
        for (client_ts, sent_at) in [
            ("2100-01-01T00:00:00Z", None),
            ("2100-01-01T00:00:00Z", Some("2026-11-21T09:00:09Z")),
            ("2199-12-31T23:59:59Z", Some("1970-01-01T00:00:00Z")),
        ] {
            let (event_ts, skew_ms) = corrected(client_ts, sent_at);
            assert_eq!(event_ts, at(RECEIVED), "{client_ts}");
            assert!(skew_ms < -DAY_MS, "{client_ts}");
        }
    }

    #[test]
    fn a_clock_that_was_set_between_event_and_sending_counts_from_arrival() {
        for sent_at in [None, Some("2026-11-21T09:00:09Z")] {
            let (event_ts, skew_ms) = corrected("1970-01-01T00:05:00Z", sent_at);
            assert_eq!(event_ts, at(RECEIVED));
            assert!(skew_ms > DAY_MS);
        }
    }

    proptest! {
        #[test]
        fn the_players_word_can_be_had_back(
            client in 0..7_258_118_400_000_i64,
            sent in proptest::option::of(0..7_258_118_400_000_i64),
            received in EARLIEST_MS..7_258_118_400_000_i64,
        ) {
            let of = |ms| Timestamp::from_millis(ms).unwrap();
            let told = correct(of(client), sent.map(of), of(received));
            prop_assert!(told.event_ts <= of(received) && told.event_ts.as_millis() >= EARLIEST_MS);
            prop_assert_eq!(told.event_ts.as_millis() - told.skew_ms, client);
        }
    }
}
