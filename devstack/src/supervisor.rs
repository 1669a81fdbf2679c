//! Keeps a unit running: one task a unit, which alone holds its process.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::process::Process;
use crate::progress::say;
use crate::unit::Unit;

const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// Between two looks at how long its log has grown.
const LOG_CHECK: Duration = Duration::from_secs(30);
/// Whoever ran this long has not died of the same cause.
const STEADY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop,
    Kill,
    /// It stands still, its connections open, until the thaw.
    Freeze,
    Thaw,
}

type Reply = oneshot::Sender<Result<()>>;

/// A unit that is looked after. Dropping it kills the process; [`Supervised::finish`] stops it in order.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    orders: mpsc::Sender<(Order, Reply)>,
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts a unit and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(unit: Unit) -> Result<Self> {
        let (orders, inbox) = mpsc::channel(4);
        let finish = CancellationToken::new();
        let name = unit.name.clone();
        let keeper = Keeper { unit, state: State::Down, deaths: 0, since: Instant::now() };
        let task = tokio::spawn(keeper.keep(inbox, finish.clone()));
        let supervised = Self { name, orders, finish, task };
        supervised.order(Order::Start).await?;
        Ok(supervised)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// When the order could not be carried out.
    pub async fn order(&self, order: Order) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.orders.send((order, reply)).await.map_err(|_| anyhow!("{} is shutting down", self.name))?;
        answer.await.with_context(|| format!("{} is shutting down", self.name))?
    }

    /// Stops it for good, in order, within the unit's own limit.
    pub async fn finish(mut self) {
        self.finish.cancel();
        if let Err(error) = (&mut self.task).await {
            say(&format!("{}: {error}", self.name));
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
enum State {
    /// Not wanted.
    Down,
    Up(Process),
    /// Died; to be started again then.
    Resting(Instant),
}

#[derive(Debug)]
struct Keeper {
    unit: Unit,
    state: State,
    /// In a row, without a steady run between them.
    deaths: u32,
    since: Instant,
}

impl Keeper {
    async fn keep(mut self, mut inbox: mpsc::Receiver<(Order, Reply)>, finish: CancellationToken) {
        // Whatever it is doing, a start in its middle as well, gives way to the end.
        finish.run_until_cancelled(self.attend(&mut inbox)).await;
        if let Err(error) = self.obey(Order::Stop).await {
            say(&format!("{}: {error:#}", self.unit.name));
        }
    }

    async fn attend(&mut self, inbox: &mut mpsc::Receiver<(Order, Reply)>) {
        let mut log_check = tokio::time::interval(LOG_CHECK);
        loop {
            tokio::select! {
                _ = log_check.tick() => self.trim_log(),
                order = inbox.recv() => {
                    let Some((order, reply)) = order else { return };
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(self.obey(order).await);
                }
                () = changed(&mut self.state) => self.revive().await,
            }
        }
    }

    fn trim_log(&self) {
        if let Err(error) = self.unit.launch.trim_log() {
            say(&format!("{}: {error:#}", self.unit.name));
        }
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match (order, std::mem::replace(&mut self.state, State::Down)) {
            (Order::Start, State::Up(process)) => {
                self.state = State::Up(process);
                Ok(())
            }
            (Order::Start, _) => self.begin().await,
            (Order::Stop, State::Up(mut process)) => process.stop(self.unit.stop_within).await,
            (Order::Kill, State::Up(mut process)) => process.kill().await,
            (Order::Freeze | Order::Thaw, State::Up(process)) => {
                process.freeze(order == Order::Freeze);
                self.state = State::Up(process);
                Ok(())
            }
            (Order::Freeze | Order::Thaw, other) => {
                self.state = other;
                bail!("{} does not run", self.unit.name)
            }
            (Order::Stop | Order::Kill, _) => Ok(()),
        }
    }

    async fn begin(&mut self) -> Result<()> {
        self.state = State::Up(self.unit.start().await?);
        self.since = Instant::now();
        Ok(())
    }

    /// After a death, and again when the rest after it is over.
    async fn revive(&mut self) {
        let name = self.unit.name.clone();
        if let State::Up(process) = &mut self.state {
            let how = process.exited().await.map_or_else(|error| format!("{error:#}"), |status| status.to_string());
            self.deaths = if self.since.elapsed() > STEADY { 0 } else { self.deaths };
            let rest = backoff(self.deaths);
            say(&format!("{name} ended ({how}); starting it again in {rest:?}"));
            self.state = State::Resting(Instant::now() + rest);
            return;
        }
        self.deaths += 1;
        match self.begin().await {
            Ok(()) => say(&format!("{name} is back")),
            Err(error) => {
                let rest = backoff(self.deaths);
                say(&format!("{error:#}\n{name}: trying again in {rest:?}"));
                self.state = State::Resting(Instant::now() + rest);
            }
        }
    }
}

/// Returns when a running process ends or a rest is over; never for what is down on purpose.
async fn changed(state: &mut State) {
    match state {
        State::Down => std::future::pending().await,
        // The status is kept for whoever asks again.
        State::Up(process) => drop(process.exited().await),
        State::Resting(until) => tokio::time::sleep_until((*until).into()).await,
    }
}

fn backoff(deaths: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << deaths.min(10)).min(BACKOFF_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_ten_seconds() {
        let rests: Vec<u64> = (0..8).map(|n| u64::try_from(backoff(n).as_millis()).unwrap()).collect();
        assert_eq!(rests, [500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
    }
}
