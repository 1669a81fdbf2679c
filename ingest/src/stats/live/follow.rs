//! The thread that reads the listens topic while somebody looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use service::backoff::Backoff;
use service::config::KafkaConfig;
use wire::Timestamp;
use wire::live::LiveState;
use wire::topic::Topic;

use super::Live;
use super::heard::Heard;
use super::picture::Picture;
use super::window::{SILENCE_MS, Window};
use crate::stats::metrics;

const TICK: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);
const ASK: Duration = Duration::from_secs(5);
/// Partitions may be added.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(60);
/// A partition is read up to now once its newest message is no older.
const UP_TO_DATE_MS: i64 = 2_000;

/// Starts the thread, and says whether it did.
pub(super) fn start(live: Arc<Live>) -> bool {
    let started = std::thread::Builder::new().name("live-stats".into()).spawn(move || follow_while_wanted(&live));
    if let Err(error) = &started {
        tracing::error!(%error, "cannot start the thread of the live figures");
    }
    started.is_ok()
}

fn follow_while_wanted(live: &Live) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
    while !live.abandoned() {
        match Follower::new(live).and_then(Follower::run) {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the live figures stand still; Kafka is tried again");
                let stalled = live.pictures.borrow().stalled();
                live.pictures.send_replace(Arc::new(stalled));
                std::thread::sleep(backoff.next_delay());
            }
        }
    }
}

struct Follower<'a> {
    live: &'a Live,
    consumer: BaseConsumer<Context>,
    topic: String,
    window: Window,
    /// Each partition, and whether it is read up to now.
    partitions: HashMap<i32, bool>,
    looked_for_partitions: Instant,
}

impl<'a> Follower<'a> {
    fn new(live: &'a Live) -> anyhow::Result<Self> {
        let consumer = consumer(&live.kafka, &live.ingest_id)?;
        let topic = Topic::Listens.name(&live.kafka.topic_prefix);
        let (window, partitions) = (Window::new(), HashMap::new());
        let mut follower = Self { live, consumer, topic, window, partitions, looked_for_partitions: Instant::now() };
        follower.assign()?;
        Ok(follower)
    }

    /// Reads until nobody looks any more.
    ///
    /// # Errors
    /// When the partitions can no longer be had.
    fn run(mut self) -> anyhow::Result<()> {
        let mut due = Instant::now() + TICK;
        while !self.live.abandoned() {
            while Instant::now() < due {
                match self.consumer.poll(POLL) {
                    None => {}
                    Some(Ok(message)) => hear(&mut self.window, &mut self.partitions, &message),
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        self.partitions.insert(partition, true);
                    }
                    // Whether a broker is left, the statistics tell.
                    Some(Err(error)) => tracing::debug!(%error, "a poll for the live figures failed"),
                }
            }
            due = Instant::now() + TICK;
            self.publish();
            if self.looked_for_partitions.elapsed() >= LOOK_FOR_PARTITIONS {
                self.look_for_partitions()?;
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        if self.consumer.context().no_broker.load(Ordering::Relaxed) {
            let stalled = self.live.pictures.borrow().stalled();
            self.live.pictures.send_replace(Arc::new(stalled));
            return;
        }
        let caught_up = self.partitions.values().all(|up_to_date| *up_to_date);
        let state = if caught_up { LiveState::Live } else { LiveState::CatchingUp };
        let picture: Picture = self.window.tick(Timestamp::now()).in_state(state);
        #[allow(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
        metrics::SESSIONS.set(self.window.sessions() as f64);
        self.live.pictures.send_replace(Arc::new(picture));
    }

    /// All partitions, each from a silence ago on: whoever listens has said something since.
    fn assign(&mut self) -> anyhow::Result<()> {
        let partitions = self.partitions_of_the_topic()?;
        // Asked first: what is said from here on is read, also where nothing was said before.
        let ends = self.offsets(&partitions, Offset::End)?;
        let since = Offset::Offset(Timestamp::now().as_millis() - SILENCE_MS);
        let mut found = self.offsets(&partitions, since)?;
        for partition in &partitions {
            let end = place(&ends, &self.topic, *partition)?;
            if !matches!(place(&found, &self.topic, *partition)?, Offset::Offset(_)) {
                // Nothing was said since.
                found.set_partition_offset(&self.topic, *partition, end)?;
            }
        }
        self.consumer.assign(&found).context("cannot read the listens topic")?;
        self.partitions = partitions.into_iter().map(|partition| (partition, false)).collect();
        Ok(())
    }

    /// The first offset at a time, in milliseconds, or the end.
    fn offsets(&self, partitions: &[i32], at: Offset) -> anyhow::Result<TopicPartitionList> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(&self.topic, *partition, at)?;
        }
        self.consumer.offsets_for_times(asked, ASK).context("cannot ask Kafka for offsets by time")
    }

    fn look_for_partitions(&mut self) -> anyhow::Result<()> {
        self.looked_for_partitions = Instant::now();
        // Kafka may be away: what is known stays.
        match self.partitions_of_the_topic() {
            Ok(found) if found.len() != self.partitions.len() => {
                self.window = Window::new();
                self.assign()
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot look for new partitions");
                Ok(())
            }
        }
    }

    fn partitions_of_the_topic(&self) -> anyhow::Result<Vec<i32>> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ASK).context("kafka does not answer")?;
        let topic = metadata.topics().first().context("kafka told nothing about the topic")?;
        let partitions: Vec<i32> = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
        anyhow::ensure!(topic.error().is_none() && !partitions.is_empty(), "kafka has no topic {}", self.topic);
        Ok(partitions)
    }
}

fn place(found: &TopicPartitionList, topic: &str, partition: i32) -> anyhow::Result<Offset> {
    let place = found.find_partition(topic, partition).context("Kafka left a partition out")?;
    place.error().with_context(|| format!("partition {partition}"))?;
    Ok(place.offset())
}

fn hear(window: &mut Window, partitions: &mut HashMap<i32, bool>, message: &BorrowedMessage<'_>) {
    let now = Timestamp::now().as_millis();
    // By Kafka's clock for it, not the event's: what waited in the spool is old and yet the newest there is.
    let behind = message.timestamp().to_millis().map_or(0, |produced| now - produced);
    if let Some(up_to_date) = partitions.get_mut(&message.partition()) {
        // Between the two bounds it stays as it was, so that the state does not flicker.
        if behind <= UP_TO_DATE_MS {
            *up_to_date = true;
        } else if behind > 3 * UP_TO_DATE_MS {
            *up_to_date = false;
        }
    }
    if let Some(heard) = message.payload().and_then(Heard::read) {
        window.hear(&heard, now);
    }
}

/// What librdkafka tells by callbacks, all of them inside `poll`.
#[derive(Debug, Default)]
struct Context {
    no_broker: AtomicBool,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        self.no_broker.store(!up, Ordering::Relaxed);
    }

    // The picture's state says when no broker is left; each connection that broke is no news.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ConsumerContext for Context {}

/// A consumer that is assigned its partitions: librdkafka wants a group's name for it, but nothing joins
/// that group and nothing is committed to it.
fn consumer(config: &KafkaConfig, ingest_id: &str) -> anyhow::Result<BaseConsumer<Context>> {
    service::kafka::client_config(config)
        .set("group.id", format!("{}.live.{ingest_id}", config.topic_prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("allow.auto.create.topics", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        // What is fetched ahead of the poll is the memory that it takes.
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.queue.backoff.ms", "20")
        .set("socket.timeout.ms", "10000")
        .set("statistics.interval.ms", "1000")
        .create_with_context(Context::default())
        .context("cannot make a Kafka consumer")
}
