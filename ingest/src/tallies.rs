//! Says how far this process has counted, each second in which something changed: see [`wire::tally`].

use std::sync::Arc;
use std::time::Duration;

use service::Shutdown;
use uuid::Uuid;
use wire::Timestamp;
use wire::tally::Tally;
use wire::topic::Topic;

use crate::batch::{Account, Batch};
use crate::ledger::{Ledger, State};
use crate::message::{Message as _, Written};
use crate::road::{Road, Way};

const EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Teller {
    pub(crate) ingest_id: String,
    pub(crate) road: Arc<Road>,
    pub(crate) ledger: Arc<Ledger>,
}

/// What a tally would say, but for the time.
#[derive(Clone)]
struct Count {
    state: State,
    spool_id: Uuid,
    waiting: u64,
}

impl Count {
    /// How much waits does not matter, or a tally that waits itself would call for the next one.
    fn says_nothing_beyond(&self, told: &Self) -> bool {
        let told_state = State { voids: Vec::new(), ..told.state.clone() };
        self.state == told_state && self.spool_id == told.spool_id && (self.waiting > 0) == (told.waiting > 0)
    }
}

impl Teller {
    /// Until the shutdown; the last word is [`Teller::end`].
    pub(crate) async fn tell_for_ever(self: Arc<Self>, shutdown: Shutdown) {
        shutdown.run_until_cancelled(self.tell_changes()).await;
    }

    async fn tell_changes(&self) {
        let mut told = None;
        loop {
            let count = self.count();
            let known = told.as_ref().is_some_and(|told| count.says_nothing_beyond(told));
            if !known && self.tell(&count, false).await {
                told = Some(count);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// After everything is settled and nothing more comes.
    pub(crate) async fn end(&self) {
        let count = self.count();
        let telling = self.tell(&count, true);
        // In this order: the tally is on its way, and then what Kafka does not take is given to the spool.
        let (kept, ()) = tokio::join!(telling, self.road.settle());
        if !kept {
            tracing::warn!("the last tally could not be kept");
        }
    }

    fn count(&self) -> Count {
        let spool = &self.road.spool;
        Count { state: self.ledger.state(), spool_id: spool.id(), waiting: spool.waiting() }
    }

    /// Whether it was kept. It takes the road that events take.
    async fn tell(&self, count: &Count, ended: bool) -> bool {
        let Count { state, spool_id, waiting } = count.clone();
        let State { given, settled, voids } = state;
        let (voids_told, tally_id, ingest_id) = (voids.len(), Uuid::now_v7(), self.ingest_id.clone());
        let at = Timestamp::now();
        let tally = Tally { tally_id, ingest_id, spool_id, at, given, settled, voids, waiting, ended };
        let message = Written::new(tally_id, self.ingest_id.as_str(), &tally);
        let kept = match self.road.admit(message.room() as u64) {
            Ok(way) => self.carry(way, message).await,
            Err(_) => false,
        };
        if kept {
            self.ledger.told(voids_told);
        }
        kept
    }

    async fn carry(&self, way: Way, message: Written) -> bool {
        let lent = if let Way::Kafka { lent } = way { lent } else { 0 };
        let account = Account { topic: Topic::Tallies, numbered: None, lent, counters: None };
        let (batch, lost) = Batch::new(account, self.road.spool.clone(), 1);
        self.road.carry(way, &[message], &batch);
        drop(batch);
        lost.await.is_ok_and(|lost| lost.is_empty())
    }
}
