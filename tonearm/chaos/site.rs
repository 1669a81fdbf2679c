//! The installation that is struck: one ingest, two sinks, the real servers.

use std::time::Duration;

use devstack::Server as Backing;
use tokio::sync::{Mutex, watch};

use crate::plan::{Blow, Plan, Strike, Target};
use crate::support::process::{Core, Server};
use crate::support::stack::Stack;

/// After the last blow was put right: the load meets what has recovered.
const AFTERMATH: Duration = Duration::from_secs(2);
const SINKS: [&str; 2] = ["sink-a", "sink-b"];

pub(crate) struct Site {
    pub(crate) stack: Stack,
    /// Where ingest is now; it comes back on another port.
    url: watch::Sender<String>,
    ingest: Mutex<Option<Server>>,
    sinks: [Mutex<Option<Server>>; 2],
}

impl Site {
    pub(crate) async fn start() -> Self {
        let stack = Stack::start(Core::Any).await.unwrap();
        let site = Self {
            stack,
            url: watch::Sender::new(String::new()),
            ingest: Mutex::new(None),
            sinks: [Mutex::new(None), Mutex::new(None)],
        };
        for target in [Target::Ingest, Target::Sink(0), Target::Sink(1)] {
            site.begin(target).await;
        }
        site
    }

    pub(crate) fn url(&self) -> watch::Receiver<String> {
        self.url.subscribe()
    }

    /// Strikes as planned, each on its own time, and returns when all is put right and has run a while.
    pub(crate) async fn suffer(&self, plan: &Plan) {
        futures_util::future::join_all(plan.0.iter().map(|strike| self.endure(strike))).await;
        tokio::time::sleep(AFTERMATH).await;
    }

    async fn endure(&self, strike: &Strike) {
        tokio::time::sleep(strike.after).await;
        self.strike(strike.target, strike.blow).await;
        tokio::time::sleep(strike.lasts).await;
        match strike.blow {
            Blow::Freeze => self.thaw(strike.target).await,
            Blow::Kill | Blow::Stop => self.begin(strike.target).await,
        }
    }

    async fn strike(&self, target: Target, blow: Blow) {
        match (backing(target), blow) {
            (Some(server), Blow::Kill) => self.stack.servers.kill(server).await,
            (Some(server), Blow::Stop) => self.stack.servers.stop(server).await,
            (Some(server), Blow::Freeze) => self.stack.servers.freeze(server).await,
            (None, Blow::Freeze) => self.role(target).lock().await.as_ref().unwrap().freeze(true).unwrap(),
            (None, Blow::Kill) => self.role(target).lock().await.take().unwrap().kill(),
            (None, Blow::Stop) => {
                let role = self.role(target).lock().await.take().unwrap();
                // It drains, and what it waits for may be away at the same time: the status says no more than that.
                tokio::task::spawn_blocking(|| role.terminate()).await.unwrap().unwrap();
            }
        }
    }

    async fn thaw(&self, target: Target) {
        match backing(target) {
            Some(server) => self.stack.servers.thaw(server).await,
            None => self.role(target).lock().await.as_ref().unwrap().freeze(false).unwrap(),
        }
    }

    async fn begin(&self, target: Target) {
        if let Some(server) = backing(target) {
            return self.stack.servers.start(server).await;
        }
        let (role, environment) = match target {
            Target::Sink(which) => ("sink", small_batches(SINKS[which])),
            _ => ("ingest", Vec::new()),
        };
        let (process, url) = self.stack.role(role, &environment).await.unwrap();
        *self.role(target).lock().await = Some(process);
        if target == Target::Ingest {
            self.url.send_replace(url);
        }
    }

    fn role(&self, target: Target) -> &Mutex<Option<Server>> {
        match target {
            Target::Sink(which) => &self.sinks[which],
            _ => &self.ingest,
        }
    }
}

fn backing(target: Target) -> Option<Backing> {
    match target {
        Target::Kafka => Some(Backing::Kafka),
        Target::ClickHouse => Some(Backing::ClickHouse),
        Target::Ingest | Target::Sink(_) => None,
    }
}

/// Many moments between intent, insert and commit.
fn small_batches(id: &str) -> Vec<(&str, &str)> {
    vec![
        ("TONEARM_SINK_ID", id),
        ("TONEARM_SINK_BATCH_ROWS", "400"),
        ("TONEARM_SINK_BATCH_WAIT", "100ms"),
        ("TONEARM_HTTP_DRAIN_TIMEOUT", "5s"),
    ]
}
