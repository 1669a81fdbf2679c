//! What listeners of one network measured to one edge, and how far it is believed. Pure.

use std::time::{Duration, Instant};

/// What the router's own probe weighs, in samples: it takes this many of the listeners' to pull the
/// estimate half the way to them.
const PARENT_WEIGHT: f64 = 20.0;
/// A network changes its routes: after this a sample weighs half.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// A sample counts as a quarter of the present estimate at least and four times it at most, so that a
/// forged one moves the estimate by a seventh and no more, and an honest change gets through in a few.
const MOST_APART: f64 = 4.0;

/// A decaying mean of samples, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    samples: f64,
    mean_ms: f64,
    at: Instant,
}

impl Estimate {
    pub(super) fn none(now: Instant) -> Self {
        Self { samples: 0.0, mean_ms: 0.0, at: now }
    }

    /// The samples' mean, shrunk to what the router's probes say: `(n*mean + k*parent) / (n + k)`.
    pub(super) fn shrunk_to(&self, parent_ms: f64, now: Instant) -> f64 {
        let n = self.weight(now);
        (n * self.mean_ms + PARENT_WEIGHT * parent_ms) / (n + PARENT_WEIGHT)
    }

    pub(super) fn add(&mut self, sample_ms: f64, parent_ms: f64, now: Instant) {
        let (n, present) = (self.weight(now), self.shrunk_to(parent_ms, now));
        let sample = sample_ms.clamp(present / MOST_APART, present * MOST_APART);
        self.mean_ms = (n * self.mean_ms + sample) / (n + 1.0);
        self.samples = n + 1.0;
        self.at = now;
    }

    fn weight(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.samples * 0.5f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64())
    }
}

/// One player's pings as one sample: their median, which a single stall does not move. `None` of none.
pub(super) fn median(rtts_ms: &[f64]) -> Option<f64> {
    let mut sorted = rtts_ms.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(samples: &[f64], parent: f64) -> f64 {
        let now = Instant::now();
        let mut estimate = Estimate::none(now);
        samples.iter().for_each(|sample| estimate.add(*sample, parent, now));
        estimate.shrunk_to(parent, now)
    }

    #[test]
    fn shrinks_as_the_formula_says() {
        assert_eq!(after(&[], 20.0), 20.0);
        assert!((after(&[41.0], 20.0) - 21.0).abs() < 1e-9);
        assert!((after(&[30.0; 20], 20.0) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn one_forged_sample_moves_little() {
        assert!(after(&[10_000.0], 20.0) <= 20.0 * (1.0 + 3.0 / 21.0) + 1e-9);
        assert!(after(&[0.000_1], 20.0) >= 20.0 * (1.0 - 0.75 / 21.0) - 1e-9);
    }

    #[test]
    fn a_half_life_halves_the_weight() {
        let now = Instant::now();
        let mut estimate = Estimate::none(now);
        (0..20).for_each(|_| estimate.add(30.0, 20.0, now));
        let later = estimate.shrunk_to(20.0, now + HALF_LIFE);
        assert!((later - (10.0 * 30.0 + 20.0 * 20.0) / 30.0).abs() < 1e-9);
    }

    #[test]
    fn medians() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[9.0, 1.0, 2.0])), (None, Some(3.0), Some(2.0)));
    }

    proptest! {
        #[test]
        fn any_sample_moves_it_by_a_seventh_at_most(
            samples in prop::collection::vec(1e-3f64..10_000.0, 0..50), next in 1e-3f64..10_000.0, parent in 0.1f64..1000.0,
        ) {
            let before = after(&samples, parent);
            let more: Vec<f64> = samples.into_iter().chain([next]).collect();
            let moved = (after(&more, parent) - before).abs();
            prop_assert!(moved <= before / 7.0 + 1e-9, "{before} moved by {moved}");
        }
    }
}
