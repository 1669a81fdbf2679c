//! Which sessions are looked at when there are more than memory may hold: those whose hash ends in
//! enough zero bits. Half as many are looked at for each bit more, and figures are doubled for it, so they
//! stay right on average however many there are.

/// After the share of sessions has grown again, figures go by the smaller one for so long: the sessions
/// that are new to it have to be heard of first.
const SETTLING_MS: i64 = super::window::SILENCE_MS;

#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Sessions with so many zero bits are taken in.
    taken: u32,
    /// And those with so many are counted; never fewer than `taken`.
    counted: u32,
    /// When `taken` was last lowered.
    lowered_at: i64,
}

impl Sample {
    pub(super) fn takes(&self, session: u64) -> bool {
        session.trailing_zeros() >= self.taken
    }

    pub(super) fn counts(&self, session: u64) -> bool {
        session.trailing_zeros() >= self.counted
    }

    /// How many sessions each counted one stands for, as a power of two.
    pub(super) fn shift(&self) -> u32 {
        self.counted
    }

    /// Memory is full: from now on half as many.
    pub(super) fn halve(&mut self) {
        self.taken += 1;
        self.counted = self.counted.max(self.taken);
    }

    /// Looks at the number of sessions held, once a tick, and takes more in where there is ample room.
    pub(super) fn settle(&mut self, now: i64, held: usize, most: usize) {
        if self.taken < self.counted {
            if now - self.lowered_at >= SETTLING_MS {
                self.counted = self.taken;
            }
        } else if self.taken > 0 && held < most / 4 {
            self.taken -= 1;
            self.lowered_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_at_once_and_doubles_with_patience() {
        let mut sample = Sample::default();
        sample.halve();
        sample.halve();
        assert!(sample.takes(0b100) && !sample.takes(0b10));
        assert_eq!(sample.shift(), 2);
        sample.settle(0, 500, 1000);
        assert!(!sample.takes(0b10), "there is no ample room");
        sample.settle(1, 249, 1000);
        assert!(sample.takes(0b10) && !sample.counts(0b10), "taken in, and not counted before it is complete");
        sample.settle(SETTLING_MS, 249, 1000);
        assert_eq!(sample.shift(), 2);
        sample.settle(SETTLING_MS + 1, 249, 1000);
        assert!(sample.shift() == 1 && sample.counts(0b10));
    }
}
