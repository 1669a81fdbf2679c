//! Whether an edge answers: down after 3 probes in a row without an answer, back after 2 with one.

const FAILURES: u32 = 3;
const SUCCESSES: u32 = 2;

/// Starts up: an edge that was never probed is judged by its load reports alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    Up { failed: u32 },
    Down { failed: u32, answered: u32 },
}

impl Default for Liveness {
    fn default() -> Self {
        Self::Up { failed: 0 }
    }
}

impl Liveness {
    #[must_use]
    pub fn after(self, answered: bool) -> Self {
        match (self, answered) {
            (Self::Up { .. }, true) => Self::Up { failed: 0 },
            (Self::Up { failed }, false) if failed + 1 < FAILURES => Self::Up { failed: failed + 1 },
            (Self::Up { failed }, false) => Self::Down { failed: failed + 1, answered: 0 },
            (Self::Down { answered, .. }, true) if answered + 1 >= SUCCESSES => Self::Up { failed: 0 },
            (Self::Down { failed, answered }, true) => Self::Down { failed, answered: answered + 1 },
            (Self::Down { failed, .. }, false) => Self::Down { failed: failed.saturating_add(1), answered: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(probes: &str) -> Liveness {
        probes.chars().fold(Liveness::default(), |liveness, c| liveness.after(c == '+'))
    }

    #[test]
    fn three_failures_down_two_answers_up() {
        assert_eq!(after("--+--"), Liveness::Up { failed: 2 });
        assert_eq!(after("---"), Liveness::Down { failed: 3, answered: 0 });
        assert_eq!(after("---+"), Liveness::Down { failed: 3, answered: 1 });
        assert_eq!(after("---+-+"), Liveness::Down { failed: 4, answered: 1 });
        assert_eq!(after("---++"), Liveness::Up { failed: 0 });
    }
}
