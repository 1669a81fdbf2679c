//! Whether what is held answers a request (RFC 9111, sections 4 and 5.2.1; RFC 8246).

use wire::Timestamp;

use crate::directives::RequestDirectives;
use crate::freshness::Life;

/// How a held answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    Fresh,
    /// Stale, and the client takes it so.
    Stale,
    /// Stale, to be asked about behind the client's back.
    WhileRevalidate,
    /// The origin must be asked first: it is stale.
    Ask,
    /// The origin must be asked first: the client wants that.
    AskForClient,
}

/// Decides from how fresh it is and what the client asks for.
#[must_use]
pub fn reuse(life: &Life, now: Timestamp, asked: &RequestDirectives) -> Reuse {
    if asked.no_cache {
        return Reuse::AskForClient;
    }
    let seconds = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).saturating_mul(1000);
    let (age, left) = (now.as_millis() - life.born, life.fresh_until - now.as_millis());
    // Reloading a page asks for max-age=0; what never changes need not be asked about for that (RFC 8246).
    let too_old = asked.max_age.is_some_and(|most| age > seconds(most) || (most == 0 && age >= 0));
    if too_old && !(life.immutable && left > 0 && asked.max_age == Some(0)) {
        return Reuse::AskForClient;
    }
    if asked.min_fresh.is_some_and(|least| left < seconds(least)) {
        return Reuse::AskForClient;
    }
    match () {
        () if left > 0 => Reuse::Fresh,
        () if life.stale_allowed && asked.max_stale.is_some_and(|most| -left <= seconds(most)) => Reuse::Stale,
        () if life.may_wait(now) => Reuse::WhileRevalidate,
        () => Reuse::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: i64 = 1_800_000_000_000;

    fn life() -> Life {
        Life { fresh_until: BORN + 60_000, ..Life::of_age(BORN) }
    }

    fn after(life: &Life, seconds: i64, asked: RequestDirectives) -> Reuse {
        reuse(life, Timestamp::from_millis(BORN + seconds * 1000).unwrap(), &asked)
    }

    #[test]
    fn rfc9111_4_2_fresh_and_stale() {
        let none = RequestDirectives::default();
        assert_eq!(after(&life(), 59, none), Reuse::Fresh);
        assert_eq!(after(&life(), 60, none), Reuse::Ask);
        let waiting = Life { while_revalidate: 10_000, ..life() };
        assert_eq!((after(&waiting, 69, none), after(&waiting, 70, none)), (Reuse::WhileRevalidate, Reuse::Ask));
        let strict = Life { stale_allowed: false, ..waiting };
        assert_eq!(after(&strict, 61, none), Reuse::Ask);
    }

    #[test]
    fn rfc9111_5_2_1_what_the_client_asks_for() {
        let none = RequestDirectives::default();
        let max_age = |most| RequestDirectives { max_age: Some(most), ..none };
        assert_eq!(after(&life(), 5, RequestDirectives { no_cache: true, ..none }), Reuse::AskForClient);
        assert_eq!(
            (after(&life(), 5, max_age(9)), after(&life(), 10, max_age(9))),
            (Reuse::Fresh, Reuse::AskForClient)
        );
        assert_eq!(after(&life(), 0, max_age(0)), Reuse::AskForClient);
        let min_fresh = |least| RequestDirectives { min_fresh: Some(least), ..none };
        assert_eq!(
            (after(&life(), 30, min_fresh(30)), after(&life(), 31, min_fresh(30))),
            (Reuse::Fresh, Reuse::AskForClient)
        );
        let max_stale = |most| RequestDirectives { max_stale: Some(most), ..none };
        assert_eq!((after(&life(), 65, max_stale(5)), after(&life(), 66, max_stale(5))), (Reuse::Stale, Reuse::Ask));
        assert_eq!(after(&life(), 99_999, max_stale(u64::MAX)), Reuse::Stale);
        let strict = Life { stale_allowed: false, ..life() };
        assert_eq!(after(&strict, 65, max_stale(5)), Reuse::Ask);
    }

    #[test]
    fn rfc8246_immutable_is_not_asked_about_while_fresh() {
        let (immutable, none) = (Life { immutable: true, ..life() }, RequestDirectives::default());
        let reload = RequestDirectives { max_age: Some(0), ..none };
        assert_eq!((after(&immutable, 5, reload), after(&immutable, 61, reload)), (Reuse::Fresh, Reuse::AskForClient));
        assert_eq!(after(&immutable, 5, RequestDirectives { no_cache: true, ..none }), Reuse::AskForClient);
    }
}
