//! What a person sees while waiting. On stderr, for stdout carries what programs read.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

/// How long a step may be silent.
const SILENCE: Duration = Duration::from_secs(2);

pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Awaits a step, saying that it still runs whenever it was silent for too long.
pub async fn during<T>(what: &str, step: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut tick = tokio::time::interval(SILENCE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let mut step = std::pin::pin!(step);
    loop {
        tokio::select! {
            done = &mut step => return done,
            _ = tick.tick() => say(&format!("  ... {what} ({} s)", began.elapsed().as_secs())),
        }
    }
}
