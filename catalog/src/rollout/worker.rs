//! Gives edges their orders: several edges at a time, each edge one order at a time, so that an edge
//! that hangs holds up nobody but itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::Shutdown;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use wire::EdgeId;

use super::Task;
use super::ledger::{Ledger, Order, Outcome};
use crate::edge_client::{EdgeClient, EdgeError};
use crate::metrics;

/// How often rows are looked at that became due by themselves, or that another process wrote.
const POLL: Duration = Duration::from_millis(250);
/// Keys of one request: an answer within the time an edge has for it, and a lease that is renewed often.
const SLICE: usize = 200;

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) ledger: Ledger,
    pub(crate) edges: EdgeClient,
    /// Told when this process has written rows.
    pub(crate) wake: Arc<Notify>,
    pub(crate) concurrency: usize,
}

impl Worker {
    /// Runs until the shutdown; orders on their way are then given back, not waited for.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut orders = JoinSet::new();
        let mut busy = HashMap::new();
        while !shutdown.is_cancelled() {
            if let Err(error) = self.fill(&mut orders, &mut busy, &shutdown).await {
                tracing::debug!(%error, "cannot look for orders; it is tried again");
            }
            tokio::select! {
                Some(ended) = orders.join_next_with_id() => free(&mut busy, ended),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.cancelled() => {}
            }
        }
        while orders.join_next().await.is_some() {}
    }

    /// Starts orders while there are due ones and room for them.
    async fn fill(
        &self,
        orders: &mut JoinSet<()>,
        busy: &mut HashMap<Id, EdgeId>,
        shutdown: &Shutdown,
    ) -> Result<(), sqlx::Error> {
        while orders.len() < self.concurrency {
            let names: Vec<&str> = busy.values().map(EdgeId::as_str).collect();
            let Some(order) = self.ledger.claim(&names).await? else { break };
            let edge = order.edge_id.clone();
            let task = orders.spawn(self.clone().carry_out(order, shutdown.clone()));
            busy.insert(task.id(), edge);
        }
        Ok(())
    }

    async fn carry_out(self, order: Order, shutdown: Shutdown) {
        let started = Instant::now();
        let outcome = tokio::select! {
            outcome = self.attempt(&order) => outcome,
            () = shutdown.cancelled() => Outcome::Interrupted,
        };
        metrics::order(order.task.as_str(), outcome.name(), started.elapsed().as_secs_f64());
        tracing::debug!(track.id = %order.track_id, version = order.version, edge.id = %order.edge_id,
            step = order.task.as_str(), ?outcome, "order to an edge");
        if let Err(error) = self.ledger.finish(&order, &outcome).await {
            // The lease ends by itself, and edges that hold an object already fetch nothing.
            tracing::warn!(%error, edge.id = %order.edge_id, "cannot note an order's outcome; it will be given again");
        }
    }

    async fn attempt(&self, order: &Order) -> Outcome {
        let keys = match self.ledger.keys(&order.track_id).await {
            Ok(keys) => keys,
            Err(error) => return Outcome::Retried(format!("cannot read the track's objects: {error}")),
        };
        let mut bytes = 0_u64;
        for slice in keys.chunks(SLICE) {
            if !self.ledger.renew(order).await.unwrap_or(true) {
                return Outcome::Superseded;
            }
            let held = match order.task {
                Task::Warm => self.edges.warm(&order.admin_url, slice).await,
                Task::Purge => self.edges.purge(&order.admin_url, slice).await.map(|()| 0),
            };
            match held {
                Ok(held) => bytes = bytes.saturating_add(held),
                Err(EdgeError::Transient(error)) => return Outcome::Retried(error),
                Err(EdgeError::Refused(error)) => return Outcome::Refused(error),
            }
        }
        Outcome::Done { bytes }
    }
}

fn free(busy: &mut HashMap<Id, EdgeId>, ended: Result<(Id, ()), tokio::task::JoinError>) {
    let id = match ended {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(%error, "an order to an edge broke off; its lease ends by itself");
            error.id()
        }
    };
    busy.remove(&id);
}
