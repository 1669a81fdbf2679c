//! A batch on its way: what is still open of it, and who waits for its end.
//!
//! It counts by itself. A client that hung up, or a request that ran out of time, leaves the batch to end
//! as it would have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use wire::topic::Topic;

use crate::ledger::Ledger;
use crate::metrics::Counters;
use crate::spool::Spool;

/// What a batch is accounted to.
pub(crate) struct Account {
    pub(crate) topic: Topic,
    /// Where the elements were numbered.
    pub(crate) numbered: Option<(Arc<Ledger>, u64)>,
    /// Bytes lent by the spool until Kafka has answered.
    pub(crate) lent: u64,
    pub(crate) counters: Option<&'static Counters>,
}

pub(crate) struct Batch {
    account: Account,
    spool: Spool,
    since: Instant,
    count: usize,
    /// Elements that neither Kafka nor the spool has answered for.
    left: AtomicUsize,
    /// By their place in the batch.
    lost: Mutex<Vec<u32>>,
    done: Mutex<Option<oneshot::Sender<Vec<u32>>>>,
}

/// One element of a batch, until it is kept or lost.
pub(crate) struct Parcel {
    batch: Arc<Batch>,
    place: u32,
}

impl Batch {
    /// A batch of `count` elements, more than none; the receiver gets the places of those that were lost.
    pub(crate) fn new(account: Account, spool: Spool, count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<u32>>) {
        let (done, receiver) = oneshot::channel();
        let (left, done) = (AtomicUsize::new(count), Mutex::new(Some(done)));
        let batch = Self { account, spool, since: Instant::now(), count, left, lost: Mutex::default(), done };
        (Arc::new(batch), receiver)
    }

    pub(crate) fn topic(&self) -> Topic {
        self.account.topic
    }

    /// Of the element at this place; 0 where they are not numbered.
    pub(crate) fn number(&self, place: usize) -> u64 {
        self.account.numbered.as_ref().map_or(0, |(_, first)| first + place as u64)
    }

    pub(crate) fn parcel(self: &Arc<Self>, place: usize) -> Parcel {
        Parcel { batch: self.clone(), place: u32::try_from(place).expect("a batch has far fewer elements") }
    }

    fn settle(&self) {
        // Release and acquire: who ends the batch sees all that was lost.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }

    fn end(&self) {
        let mut lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
        let Account { numbered, lent, counters, .. } = &self.account;
        if let Some((ledger, first)) = numbered {
            ledger.close(*first, &mut lost);
        }
        self.spool.answered(*lent);
        if let Some(counters) = counters {
            counters.accepted.increment((self.count - lost.len()) as u64);
            counters.ack.record(self.since.elapsed());
        }
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody may be waiting any more.
        let _ = done.map(|done| done.send(lost));
    }
}

impl Parcel {
    pub(crate) fn topic(&self) -> Topic {
        self.batch.topic()
    }

    /// Kafka has acknowledged it, or the spool has synced it.
    pub(crate) fn kept(self) {
        self.batch.settle();
    }

    /// Neither has.
    pub(crate) fn lost(self) {
        self.batch.lost.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
        self.batch.settle();
    }
}
