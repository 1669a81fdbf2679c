//! What a series of probes says: round trip, jitter, loss. Pure; the clock is the prober's.

/// Probes that loss is counted over.
pub const WINDOW: u32 = 20;

/// Smoothed round trip (as TCP's SRTT), RFC 3550's jitter over consecutive round trips, and loss over
/// the last [`WINDOW`] probes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimator {
    srtt_ms: Option<f64>,
    last_ms: Option<f64>,
    jitter_ms: f64,
    /// One bit a probe, newest lowest; 1 was lost.
    lost: u32,
    seen: u32,
}

impl Estimator {
    /// An answer came. `rtt_ms` is none for the first answer on a new connection, whose time is not
    /// the network's alone; it counts as an answer all the same.
    pub fn answered(&mut self, rtt_ms: Option<f64>) {
        self.count(0);
        let Some(rtt) = rtt_ms else { return };
        self.srtt_ms = Some(self.srtt_ms.map_or(rtt, |srtt| srtt + (rtt - srtt) / 8.0));
        if let Some(last) = self.last_ms.replace(rtt) {
            self.jitter_ms += ((rtt - last).abs() - self.jitter_ms) / 16.0;
        }
    }

    /// No answer came in time.
    pub fn lost(&mut self) {
        self.count(1);
    }

    fn count(&mut self, bit: u32) {
        self.lost = ((self.lost << 1) | bit) & ((1 << WINDOW) - 1);
        self.seen = (self.seen + 1).min(WINDOW);
    }

    /// In milliseconds; none until something was measured.
    #[must_use]
    pub fn rtt_ms(&self) -> Option<f64> {
        self.srtt_ms
    }

    /// In milliseconds.
    #[must_use]
    pub fn jitter_ms(&self) -> f64 {
        self.jitter_ms
    }

    /// Share of the window's probes that got no answer, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.seen == 0 { 0.0 } else { f64::from(self.lost.count_ones()) / f64::from(self.seen) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(rtts: &[f64]) -> Estimator {
        let mut estimator = Estimator::default();
        rtts.iter().for_each(|rtt| estimator.answered(Some(*rtt)));
        estimator
    }

    #[test]
    fn jitter_by_rfc_3550_computed_by_hand() {
        // J = 0; |16 - 0| has no predecessor; then |20-16| = 4: J = 4/16 = 0.25;
        // |12-20| = 8: J = 0.25 + (8-0.25)/16 = 0.734375; |12-12| = 0: J = 0.734375*15/16.
        for (rtts, jitter) in [
            (&[16.0][..], 0.0),
            (&[16.0, 20.0], 0.25),
            (&[16.0, 20.0, 12.0], 0.734_375),
            (&[16.0, 20.0, 12.0, 12.0], 0.688_476_562_5),
        ] {
            assert!((after(rtts).jitter_ms() - jitter).abs() < 1e-12, "{rtts:?}");
        }
    }

    #[test]
    fn round_trip_is_smoothed_by_an_eighth() {
        assert_eq!(after(&[16.0]).rtt_ms(), Some(16.0));
        assert_eq!(after(&[16.0, 24.0]).rtt_ms(), Some(17.0));
        assert_eq!(after(&[16.0, 24.0, 9.0]).rtt_ms(), Some(16.0));
    }

    #[test]
    fn the_first_answer_of_a_connection_counts_but_is_not_measured() {
        let mut estimator = after(&[10.0]);
        estimator.answered(None);
        assert_eq!((estimator.rtt_ms(), estimator.jitter_ms(), estimator.loss()), (Some(10.0), 0.0, 0.0));
    }

    #[test]
    fn loss_forgets_what_left_the_window() {
        let mut estimator = Estimator::default();
        estimator.lost();
        estimator.answered(None);
        assert_eq!(estimator.loss(), 0.5);
        (0..18).for_each(|_| estimator.answered(None));
        assert_eq!(estimator.loss(), 0.05);
        estimator.answered(None);
        assert_eq!(estimator.loss(), 0.0);
    }

    proptest! {
        #[test]
        fn stays_within_what_was_measured(probes in prop::collection::vec(prop::option::of(0.01f64..10_000.0), 1..200)) {
            let mut estimator = Estimator::default();
            for probe in &probes {
                match probe {
                    Some(rtt) => estimator.answered(Some(*rtt)),
                    None => estimator.lost(),
                }
            }
            let rtts: Vec<f64> = probes.iter().flatten().copied().collect();
            let low = rtts.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rtts.iter().copied().fold(0.0, f64::max);
            prop_assert_eq!(estimator.rtt_ms().is_some(), !rtts.is_empty());
            if let Some(rtt) = estimator.rtt_ms() {
                prop_assert!(low - 1e-9 <= rtt && rtt <= high + 1e-9);
                prop_assert!((0.0..=high - low + 1e-9).contains(&estimator.jitter_ms()));
            }
            let recent = &probes[probes.len().saturating_sub(WINDOW as usize)..];
            let lost = recent.iter().filter(|probe| probe.is_none()).count();
            prop_assert!((estimator.loss() - lost as f64 / recent.len() as f64).abs() < 1e-12);
        }
    }
}
