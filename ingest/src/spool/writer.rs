//! The one thread that appends: groups what arrives together, so that one sync serves many clients.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use service::journal::Pen;
use tokio::sync::oneshot;

use super::{Job, Shared};
use crate::batch::Parcel;
use crate::metrics;

/// How long the first of a group waits for others: about what a disk's sync takes.
pub(super) const GATHER: Duration = Duration::from_millis(3);
/// A group that has so many bytes waits no longer.
const GROUP_BYTES: usize = 4 << 20;
/// Between two attempts to find a failing disk well again.
const MEND_EVERY: Duration = Duration::from_secs(1);

pub(super) enum Order {
    /// With the room that was reserved for it.
    Keep(Job, u64),
    /// Say when everything before it is done.
    Tell(oneshot::Sender<()>),
    Stop,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    pen: Pen,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>) -> Self {
        Self { shared, orders, pen: Pen::default() }
    }

    /// Writes until it is told to stop, or nobody is left to give it anything.
    pub(super) fn run(mut self) {
        loop {
            let order = match self.orders.recv_timeout(MEND_EVERY) {
                Ok(Order::Keep(job, reserved)) => self.group(job, reserved),
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => {
                    self.mend();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match order {
                Some(Order::Stop) => return,
                // Who asked may be gone.
                Some(Order::Tell(reached)) => drop(reached.send(())),
                Some(Order::Keep(job, reserved)) => self.keep(vec![job], reserved),
                None => {}
            }
        }
    }

    /// Keeps the job with what arrives beside it; an order that ended the gathering is returned.
    fn group(&mut self, first: Job, mut reserved: u64) -> Option<Order> {
        let deadline = Instant::now() + GATHER;
        let mut bytes = first.records.len();
        let mut group = vec![first];
        let mut ended_by = None;
        while bytes < GROUP_BYTES {
            match self.orders.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Order::Keep(job, room)) => {
                    bytes += job.records.len();
                    reserved += room;
                    group.push(job);
                }
                Ok(order) => {
                    ended_by = Some(order);
                    break;
                }
                Err(_) => break,
            }
        }
        self.keep(group, reserved);
        ended_by
    }

    fn keep(&mut self, group: Vec<Job>, reserved: u64) {
        let (parts, parcels): (Vec<Vec<u8>>, Vec<Vec<Parcel>>) =
            group.into_iter().map(|job| (job.records, job.parcels)).unzip();
        let parcels: Vec<Parcel> = parcels.into_iter().flatten().collect();
        let kept = self.append(&parts, parcels.len() as u64);
        self.shared.budget.written(reserved);
        parcels.into_iter().for_each(if kept { Parcel::kept } else { Parcel::lost });
    }

    fn append(&mut self, parts: &[Vec<u8>], records: u64) -> bool {
        let Some(journal) = self.shared.journal.get() else { return false };
        let since = Instant::now();
        match journal.append(&mut self.pen, parts, records) {
            Ok(()) => {
                metrics::SPOOLED.increment(records);
                metrics::SPOOL_SYNC.record(since.elapsed());
                self.shared.count(journal);
                self.shared.mend();
                self.shared.readable.notify_one();
                true
            }
            Err(error) => {
                self.shared.fail(&error);
                false
            }
        }
    }

    /// Looks whether a disk that failed takes bytes again.
    fn mend(&self) {
        if !self.shared.failing.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let attempt = match self.shared.journal.get() {
            Some(journal) => journal.folder().probe().map_err(|error| error.to_string()),
            None => self.shared.open().map_err(|error| error.to_string()),
        };
        match attempt {
            Ok(()) => self.shared.mend(),
            Err(error) => self.shared.fail(&error),
        }
    }
}
