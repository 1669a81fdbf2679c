//! The road that elements take once nothing can refuse them: to Kafka, and where that is away, to the spool.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use arc_swap::ArcSwap;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{Producer as _, PurgeConfig};
use service::config::KafkaConfig;
use service::health::Status;
use service::journal::record;
use service::{Health, Problem, Shutdown};
use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::config::IngestConfig;
use crate::kafka_watch::{self, KafkaWatch};
use crate::message::{Message, USUAL_BYTES};
use crate::producer::{self, Deliveries, Producer, Receipt, TOPIC_BYTES, Topics};
use crate::replay;
use crate::spool::{self, Job, Spool};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const WHILE_WELL: Duration = Duration::from_secs(3);
const WHILE_AWAY: Duration = Duration::from_millis(500);
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// What a stop gives Kafka to acknowledge what it has, before the spool gets it.
const FLUSH: Duration = Duration::from_secs(3);

pub(crate) struct Road {
    pub(crate) spool: Spool,
    pub(crate) watch: Arc<KafkaWatch>,
    pub(crate) topics: Topics,
    /// Replaced when librdkafka calls an error fatal: that producer never sends again.
    producer: ArcSwap<Producer>,
    kafka: KafkaConfig,
    health: Health,
    replaying: Mutex<Option<JoinHandle<()>>>,
}

/// Where elements go, with the spool's room for them: lent on the way to Kafka, reserved on the way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Kafka { lent: u64 },
    Spool { reserved: u64 },
}

impl Road {
    /// Opens the spool and begins to ask for Kafka.
    pub(crate) fn start(
        kafka: &KafkaConfig,
        ingest: &IngestConfig,
        health: Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Arc<Self>> {
        let spool = Spool::start(&ingest.spool_dir, ingest.spool_max.as_u64())?;
        let (watch, topics) = (Arc::new(KafkaWatch::new()), Topics::new(&kafka.topic_prefix));
        let producer = producer::start(kafka, Deliveries { spool: spool.clone(), watch: watch.clone() })
            .with_context(|| format!("cannot make a Kafka producer for {}", kafka.brokers))?;
        let kafka = kafka.clone();
        let (producer, replaying) = (ArcSwap::from_pointee(producer), Mutex::default());
        let road = Arc::new(Self { spool, watch, topics, producer, kafka, health, replaying });
        road.report();
        tokio::spawn(until(shutdown.clone(), road.clone().probe_for_ever()));
        tokio::spawn(until(shutdown.clone(), road.clone().report_for_ever()));
        let replaying = tokio::spawn(replay::run(road.clone(), shutdown.clone()));
        *road.replaying() = Some(replaying);
        Ok(road)
    }

    fn replaying(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.replaying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn producer(&self) -> Arc<Producer> {
        self.producer.load_full()
    }

    /// # Errors
    /// 503 when nothing could keep an element now, so that its body need not be read.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.watch.takes() {
            return Ok(());
        }
        match self.spool.standing() {
            spool::Standing::Empty | spool::Standing::Waiting => Ok(()),
            spool::Standing::Full => Err(no_room()),
            spool::Standing::Failing(_) => Err(no_disk()),
        }
    }

    /// The way for elements of so many bytes as records, with room in the spool whatever happens on it.
    ///
    /// # Errors
    /// 503 when there is none.
    pub(crate) fn admit(&self, bytes: u64) -> Result<Way, Problem> {
        if self.watch.takes() && self.spool.lend(bytes) {
            return Ok(Way::Kafka { lent: bytes });
        }
        if self.spool.reserve(bytes) {
            return Ok(Way::Spool { reserved: bytes });
        }
        self.check()?;
        Err(no_room())
    }

    /// Sends them on their way, in their order.
    pub(crate) fn carry<M: Message>(&self, way: Way, messages: &[M], batch: &Arc<Batch>) {
        match way {
            Way::Kafka { .. } => self.produce(messages, batch),
            Way::Spool { reserved } => self.spool.keep(job(messages, batch, 0), reserved),
        }
    }

    fn produce<M: Message>(&self, messages: &[M], batch: &Arc<Batch>) {
        let producer = self.producer.load();
        let (name, mut payload) = (self.topics.name(batch.topic()), Vec::with_capacity(USUAL_BYTES));
        for (place, message) in messages.iter().enumerate() {
            payload.clear();
            message.write(batch.number(place), &mut payload);
            let receipt = Receipt::Fresh(batch.parcel(place));
            let sent = producer::send(&producer, name, message.key().as_bytes(), &payload, receipt);
            if let Err((error, _)) = sent {
                if !producer::is_haste(&error) {
                    self.watch.failed(&error);
                }
                // The rest goes the same way, or it would overtake this one.
                return self.spool.rescue(job(&messages[place..], batch, place));
            }
        }
    }

    async fn probe_for_ever(self: Arc<Self>) {
        loop {
            let pause = match self.probe().await {
                Ok(()) => {
                    self.watch.found(self.spool.waiting() > 0);
                    if self.watch.takes() { WHILE_WELL } else { WHILE_AWAY }
                }
                Err(error) => {
                    self.watch.missed(format!("{error:#}"));
                    WHILE_AWAY
                }
            };
            self.report();
            tokio::time::sleep(pause).await;
        }
    }

    async fn probe(&self) -> anyhow::Result<()> {
        self.replace_broken_producer().await?;
        let (producer, topics) = (self.producer(), self.topics.clone());
        tokio::task::spawn_blocking(move || topics.ours().try_for_each(|topic| has_topic(&producer, topic)))
            .await
            .context("the probe panicked")??;
        if self.watch.is_away() { self.takes_our_messages().await } else { Ok(()) }
    }

    async fn replace_broken_producer(&self) -> anyhow::Result<()> {
        let Some((_, reason)) = self.producer().client().fatal_error() else { return Ok(()) };
        tracing::error!(reason, "the producer has failed for good; another takes its place");
        let deliveries = Deliveries { spool: self.spool.clone(), watch: self.watch.clone() };
        let broken = self.producer.swap(Arc::new(producer::start(&self.kafka, deliveries)?));
        // What it still holds goes to the spool, which takes its time.
        tokio::task::spawn_blocking(move || drop(broken)).await.context("the producer's end panicked")
    }

    /// A topic with a smaller limit than ours would refuse events that were accepted.
    async fn takes_our_messages(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = service::kafka::client_config(&self.kafka).create()?;
        let resources: Vec<_> = self.topics.ours().map(ResourceSpecifier::Topic).collect();
        let options = AdminOptions::new().request_timeout(Some(PROBE_TIMEOUT));
        let told = admin.describe_configs(&resources, &options).await;
        // It waits for its thread.
        drop(tokio::task::spawn_blocking(move || drop(admin)));
        let told = told.context("kafka does not tell its limits")?;
        // Who may not ask is not told, and goes without the check.
        for (topic, config) in self.topics.ours().zip(told.into_iter().filter_map(Result::ok)) {
            let limit = config.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
            ensure!(
                limit.is_none_or(|limit| limit >= TOPIC_BYTES),
                "the topic {topic} takes messages of {} bytes; its max.message.bytes must be at least {TOPIC_BYTES}",
                limit.unwrap_or_default()
            );
        }
        Ok(())
    }

    async fn report_for_ever(self: Arc<Self>) {
        loop {
            self.report();
            tokio::time::sleep(REPORT_EVERY).await;
        }
    }

    fn report(&self) {
        let (kafka, spool) = stand(&self.watch.standing(), &self.spool.standing(), self.spool.has_damage());
        self.health.set("kafka", kafka);
        self.health.set("spool", spool);
    }

    /// After the shutdown: waits for what the spool has on its way, so that it is not sent again.
    pub(crate) async fn stop_replaying(&self) {
        let replaying = self.replaying().take();
        if let Some(replaying) = replaying
            && let Err(error) = replaying.await
        {
            tracing::error!(%error, "sending what the spool holds has panicked");
        }
    }

    /// After this, everything that was carried is kept or lost: what Kafka does not acknowledge soon
    /// is taken from it and given to the spool.
    pub(crate) async fn settle(&self) {
        let producer = self.producer();
        let flushing = tokio::task::spawn_blocking(move || {
            // What is left is purged, and with that comes back.
            let _ = producer.flush(FLUSH);
            producer.purge(PurgeConfig::default().queue().inflight());
            let _ = producer.flush(Duration::from_secs(1));
        });
        if let Err(error) = flushing.await {
            tracing::error!(%error, "flushing the producer panicked");
        }
        self.spool.settled().await;
    }
}

async fn until(shutdown: Shutdown, work: impl Future<Output = ()>) {
    shutdown.run_until_cancelled(work).await;
}

/// `messages` are those of the batch from the place `first` on.
fn job<M: Message>(messages: &[M], batch: &Arc<Batch>, first: usize) -> Job {
    let mut records = Vec::with_capacity(messages.iter().map(M::room).sum());
    let (mut payload, places) = (Vec::new(), first..first + messages.len());
    for (message, place) in messages.iter().zip(places.clone()) {
        payload.clear();
        message.write(batch.number(place), &mut payload);
        record::append(&mut records, batch.topic(), message.key().as_bytes(), &payload);
    }
    Job { records, parcels: places.map(|place| batch.parcel(place)).collect() }
}

fn has_topic(producer: &Producer, topic: &str) -> anyhow::Result<()> {
    let metadata = producer.client().fetch_metadata(Some(topic), PROBE_TIMEOUT).context("kafka does not answer")?;
    let found = metadata.topics().first().context("kafka told nothing about the topic")?;
    ensure!(found.error().is_none() && !found.partitions().is_empty(), "kafka has no topic {topic}");
    Ok(())
}

fn no_room() -> Problem {
    Problem::unavailable("the spool is full and kafka is away; send the elements again with the same ids", 5)
}

fn no_disk() -> Problem {
    Problem::unavailable("the spool cannot be written and kafka is away; send the elements again with the same ids", 5)
}

/// What health says of Kafka and of the spool.
fn stand(kafka: &kafka_watch::Standing, spool: &spool::Standing, damage: bool) -> (Status, Status) {
    use kafka_watch::Standing::{Away, Failing, Takes, Unknown};
    let refused = match spool {
        spool::Standing::Empty | spool::Standing::Waiting => None,
        spool::Standing::Full => Some("the spool is full"),
        spool::Standing::Failing(_) => Some("the spool cannot be written"),
    };
    let kafka = match (kafka, refused) {
        (Takes, _) => Status::Ok,
        (Unknown, _) => Status::Down("kafka has not answered yet".into()),
        (Away(why) | Failing(why), None) => Status::Degraded(format!("{why}; the spool keeps the events")),
        (Away(why) | Failing(why), Some(refused)) => Status::Down(format!("{why}, and {refused}: events get 503")),
    };
    let spool = match spool {
        spool::Standing::Failing(why) => Status::Degraded(why.clone()),
        spool::Standing::Full => Status::Degraded("it is full; while kafka is away events get 503".into()),
        _ if damage => Status::Degraded("bytes that are no record were set aside in its folder damaged/".into()),
        spool::Standing::Waiting => Status::Degraded("kafka does not have all that it holds yet".into()),
        spool::Standing::Empty => Status::Ok,
    };
    (kafka, spool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_down_only_where_nothing_keeps_an_event() {
        let away = kafka_watch::Standing::Away("gone".into());
        let full = (spool::Standing::Full, "gone, and the spool is full: events get 503");
        let failing = (spool::Standing::Failing("EIO".into()), "gone, and the spool cannot be written: events get 503");
        for (spool, why) in [full, failing] {
            assert_eq!(stand(&away, &spool, false).0, Status::Down(why.into()));
            assert_eq!(stand(&kafka_watch::Standing::Takes, &spool, false).0, Status::Ok);
            assert!(matches!(stand(&kafka_watch::Standing::Takes, &spool, false).1, Status::Degraded(_)));
        }
        assert!(matches!(stand(&away, &spool::Standing::Empty, false).0, Status::Degraded(_)));
        assert!(matches!(stand(&kafka_watch::Standing::Takes, &spool::Standing::Empty, true).1, Status::Degraded(_)));
    }
}
