//! The log of decisions: a bounded queue that Kafka empties.
//!
//! Answers never wait for it. A record that Kafka does not acknowledge is sent again until it does;
//! when that fills the queue, further decisions are answered and counted as dropped, and health says so.
//! A record may reach Kafka twice; its decision id tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::backoff::Backoff;
use service::health::Status;
use service::{Health, Shutdown};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::DecisionId;

use crate::meters::{LOG_WAITING, LOGGED};

/// With nothing acknowledged for this long while something waits, health says so; Kafka's own time
/// limit for a message comes much later.
const SLOW: Duration = Duration::from_secs(3);

/// Takes records from the request path.
#[derive(Debug, Clone)]
pub(crate) struct DecisionLog {
    queue: mpsc::Sender<Record>,
    dropped: metrics::Counter,
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Record {
    id: DecisionId,
    json: Bytes,
}

/// Sends what the queue holds.
pub(crate) struct Sender {
    queue: mpsc::Receiver<Record>,
    producer: FutureProducer,
    topic: Arc<str>,
    health: Health,
    full: Arc<AtomicBool>,
    last_progress: Instant,
}

/// A log of `capacity` records, and as many again under way, and what empties it.
pub(crate) fn open(producer: FutureProducer, topic: String, capacity: usize, health: Health) -> (DecisionLog, Sender) {
    let (sender, queue) = mpsc::channel(capacity);
    let full = Arc::new(AtomicBool::new(false));
    let log = DecisionLog { queue: sender, dropped: counter("dropped"), full: full.clone() };
    (log, Sender { queue, producer, topic: topic.into(), health, full, last_progress: Instant::now() })
}

fn counter(result: &str) -> metrics::Counter {
    LOGGED.counter(&[("result", result.into())])
}

impl DecisionLog {
    pub(crate) fn put(&self, id: DecisionId, json: Bytes) {
        if self.queue.try_send(Record { id, json }).is_err() {
            self.dropped.increment(1);
            self.full.store(true, Ordering::Relaxed);
        }
    }
}

impl Sender {
    /// Sends until `stop`, and then for `deadline` at most what the queue still holds; what is not
    /// acknowledged by then is counted as lost.
    pub(crate) async fn run(mut self, stop: Shutdown, deadline: Duration) {
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(deadline).await;
        };
        let mut under_way = 0;
        tokio::select! {
            () = self.send_all(&stop, &mut under_way) => {}
            () = over => {}
        }
        let lost = (under_way + self.queue.len()) as u64;
        if lost > 0 {
            counter("lost").increment(lost);
            tracing::error!(lost, "decisions were not acknowledged by Kafka before the stop");
        }
    }

    async fn send_all(&mut self, stop: &Shutdown, count: &mut usize) {
        let (acknowledged, gauge) = (counter("acknowledged"), LOG_WAITING.gauge(&[]));
        let under_way_max = self.queue.max_capacity();
        let mut under_way = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut open = true;
        while open || !under_way.is_empty() {
            tokio::select! {
                record = self.queue.recv(), if open && under_way.len() < under_way_max => match record {
                    Some(record) => under_way.push(deliver(self.producer.clone(), self.topic.clone(), record)),
                    None => open = false,
                },
                Some(()) = under_way.next() => {
                    acknowledged.increment(1);
                    self.last_progress = Instant::now();
                }
                // What is in the queue still comes out of it.
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                _ = ticks.tick() => {
                    gauge.set((under_way.len() + self.queue.len()) as f64);
                    self.tell_health(under_way.is_empty());
                }
            }
            *count = under_way.len();
        }
    }

    fn tell_health(&mut self, idle: bool) {
        if idle {
            self.last_progress = Instant::now();
        }
        let status = if self.full.swap(false, Ordering::Relaxed) {
            Status::Degraded("the queue of decisions is full: they are answered and not logged".into())
        } else if self.last_progress.elapsed() > SLOW {
            Status::Degraded("Kafka does not acknowledge: decisions wait in memory".into())
        } else {
            Status::Ok
        };
        self.health.set("kafka", status);
    }
}

/// Until Kafka has it.
async fn deliver(producer: FutureProducer, topic: Arc<str>, record: Record) {
    let key = record.id.to_string();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match send(&producer, &topic, &key, &record.json).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "a decision was not acknowledged, it is sent again"),
        }
        backoff.wait().await;
    }
}

async fn send(producer: &FutureProducer, topic: &str, key: &str, json: &[u8]) -> Result<(), KafkaError> {
    let message = FutureRecord::to(topic).key(key).payload(json);
    let delivery = producer.send_result(message).map_err(|(error, _)| error)?;
    let sent = delivery.await.map_err(|_| KafkaError::Canceled)?;
    sent.map(drop).map_err(|(error, _)| error)
}
