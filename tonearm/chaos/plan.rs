//! Who is struck in a round, how, and when; all of it from the seed.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Ingest,
    /// One of the two.
    Sink(usize),
    Kafka,
    ClickHouse,
}

impl Target {
    const ALL: [Self; 5] = [Self::Ingest, Self::Sink(0), Self::Sink(1), Self::Kafka, Self::ClickHouse];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// `kill -9`, and a start.
    Kill,
    /// SIGTERM, and a start.
    Stop,
    /// SIGSTOP, and SIGCONT.
    Freeze,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) target: Target,
    pub(crate) blow: Blow,
    /// After the round's beginning.
    pub(crate) after: Duration,
    /// Until it is put right.
    pub(crate) lasts: Duration,
}

/// One round: a strike, or two at once.
#[derive(Debug, Clone)]
pub(crate) struct Plan(pub(crate) Vec<Strike>);

impl Plan {
    /// Every five rounds strike each target once, in an order of their own; a third strikes another as well.
    pub(crate) fn rounds(random: &mut StdRng, rounds: usize) -> Vec<Self> {
        let mut plans = Vec::with_capacity(rounds);
        let mut order = Vec::new();
        for _ in 0..rounds {
            if order.is_empty() {
                order = Target::ALL.to_vec();
                order.shuffle(random);
            }
            let Some(target) = order.pop() else { break };
            let mut strikes = vec![Strike::on(target, random)];
            if random.random_bool(0.35) {
                let others: Vec<Target> = Target::ALL.into_iter().filter(|other| *other != target).collect();
                strikes.push(Strike::on(others[random.random_range(0..others.len())], random));
            }
            plans.push(Self(strikes));
        }
        plans
    }
}

impl Strike {
    fn on(target: Target, random: &mut StdRng) -> Self {
        let blow = match random.random_range(0..10) {
            0..5 => Blow::Kill,
            5..8 => Blow::Freeze,
            _ => Blow::Stop,
        };
        let mut lasts = random.random_range(200..3000);
        // Longer than the group waits for a sink: another one has its partitions when it wakes, and it is fenced.
        if matches!(target, Target::Sink(_)) && blow == Blow::Freeze && random.random_bool(0.4) {
            lasts = 11_500;
        }
        let after = Duration::from_millis(random.random_range(500..3500));
        Self { target, blow, after, lasts: Duration::from_millis(lasts) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> = self.0.iter().map(Strike::to_string).collect();
        f.write_str(&told.join(", and "))
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, blow, after, lasts } = self;
        write!(f, "{blow:?} {target:?} after {:.1} s for {:.1} s", after.as_secs_f64(), lasts.as_secs_f64())
    }
}
